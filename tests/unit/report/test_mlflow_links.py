"""The page leads to the runs in MLflow; tests/integration/test_mlflow_ui.py follows the links."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bdray.exceptions import ConfigError
from bdray.report import build

Write = Callable[..., Path]
COMMAND = "mlflow ui --backend-store-uri sqlite:////x/mlflow.db --host 127.0.0.1 --port 5000"


def pages(server: str) -> dict[str, str]:
    return {
        "table": f"{server}/#/experiments/1/runs?viewStateShareKey=a&b",
        "charts": f"{server}/#/experiments/1/runs?compareRunsMode=CHART",
        "compare": f"{server}/#/compare-runs?runs=1",
    }


def page(folder: Path) -> str:
    return build(folder).page.read_text(encoding="utf-8")


def test_a_server_has_a_link_for_every_model(write: Write) -> None:
    server = "https://mlflow.example"
    run = f"{server}/#/experiments/1/runs/abc"
    told = {"uri": server, "command": server, **pages(server), "runs": {"victim-None-0": run}}
    text = page(write({"mlflow": told}))
    # One row has a run, and leads there; the others have none and are plain.
    assert text.count(f'<td><a href="{run}">') == 1
    assert f'<a href="{server}/#/experiments/1/runs?viewStateShareKey=a&amp;b">all runs</a>' in text
    # There is nothing to start.
    assert "Open the user interface with" not in text
    assert "While it runs" not in text


def test_a_database_has_a_command_and_then_links(write: Write) -> None:
    text = page(
        write({"mlflow": {"uri": "sqlite:////x/mlflow.db", "command": COMMAND, **pages("http://127.0.0.1:5000")}})
    )
    # In the order in which they are of use.
    assert text.index(COMMAND) < text.index("While it runs") < text.index("the trials side by side")
    assert "links to each run" not in text


def test_a_study_of_older_versions_has_its_command(write: Write) -> None:
    text = page(write({"mlflow": {"uri": "sqlite:////x/mlflow.db", "command": COMMAND}}))
    assert COMMAND in text
    assert "While it runs" not in text
    # And one without a tracker says nothing.
    assert "Every run in MLflow" not in page(write({"mlflow": {}}))


@pytest.mark.parametrize("field", ["table", "charts", "compare", "runs"])
def test_only_addresses_of_pages_become_links(write: Write, field: str) -> None:
    evil = "javascript:alert(1)"
    told = {"uri": "x", "command": "x", field: {"k": evil} if field == "runs" else evil}
    with pytest.raises(ConfigError, match="mlflow"):
        page(write({"mlflow": told}))
