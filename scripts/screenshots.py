"""Take the README's pictures of a finished study in MLflow, with a headless Chromium.

Usage: python scripts/screenshots.py sqlite:////path/to/.bdray/mlflow.db [--study ablations/lambda2] [--output docs]

Writes ``mlflow-table.png``, ``mlflow-charts.png`` and ``mlflow.png``, the comparison of the study's trials. MLflow is
started for it, and ended. Needs Playwright (the extra ``dev``) and a Chromium on the PATH.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from bdray.tracking import links
from bdray.tracking.location import UI_PORT, Location
from bdray.tracking.view import TAG

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from playwright.sync_api import Page

STUDY = "ablations/lambda2"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120
"""Seconds for MLflow to start, and for a page of it to fill; the machine may be busy."""
# On this machine MLflow opens its assistant over a quarter of the window. Its frames for files have no storage.
NO_ASSISTANT = "try { localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true') } catch {}"
LARGEST = 300_000
"""Bytes of a picture."""


@contextmanager
def served(command: str) -> Iterator[str]:
    """Run the command by which a study opens MLflow, but on a free port; gives the address and ends what it started."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(  # noqa: S602
        command.replace(f"--port {UI_PORT}", f"--port {port}"),
        shell=True,
        start_new_session=True,  # so that its group is MLflow and nothing else
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(server, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(PATIENCE)


def _await(server: "subprocess.Popen[bytes]", address: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"MLflow does not answer at {address}.") from None
            time.sleep(0.2)
        else:
            return


def chromium() -> str | None:
    """The browser, if there is one."""
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


@contextmanager
def browsing(width: int, height: int) -> Iterator["Page"]:
    """A page of a new browser, without MLflow's assistant."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(PATIENCE * 1000)
        context.add_init_script(NO_ASSISTANT)
        yield context.new_page()
        browser.close()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("uri", help="of the MLflow database")
    parser.add_argument("--study", default=STUDY)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs")
    options = parser.parse_args()
    with served(Location.parse(options.uri).ui_command) as address, browsing(1500, 1080) as page:
        experiment, view, trials = find(address, options.study)
        page.goto(f"{address}/{links.table(experiment, view)}")
        page.locator(".ag-row [col-id^='metrics.']").first.wait_for()
        save(page, options.output / "mlflow-table.png")
        page.set_viewport_size({"width": 1500, "height": 1290})
        page.goto(f"{address}/{links.charts(experiment, view)}")
        page.locator(".parcoords canvas").first.wait_for()
        page.locator(".scatterlayer .point, .scatterlayer .lines").first.wait_for(state="attached")
        save(page, options.output / "mlflow-charts.png")
        page.set_viewport_size({"width": 1500, "height": 760})
        page.goto(f"{address}/{links.comparison(experiment, trials)}")
        page.locator(".parcoords .axis-title").first.wait_for()
        save(page, options.output / "mlflow.png")


def find(address: str, study: str) -> tuple[str, str, list[str]]:
    """The study's experiment, its saved view and its finished trials, by their ids."""
    from mlflow import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        raise SystemExit(f"MLflow has no study {study!r}. Run it first: python -m bdray.study {study}")
    runs = client.search_runs([experiment.experiment_id], "tags.stage = 'defend' and attributes.status = 'FINISHED'")
    runs.sort(key=lambda run: str(run.info.run_name))
    return experiment.experiment_id, _view(experiment), [run.info.run_id for run in runs][: links.MOST_COMPARED]


def _view(experiment: "Experiment") -> str:
    """The key of the view that the last study of this name has saved."""
    note = experiment.tags.get("mlflow.note.content", "")
    keys = [name.rpartition(".")[2] for name in experiment.tags if name.startswith(TAG)]
    found = next((key for key in keys if key in note), None)
    if found is None:
        raise SystemExit(f"{experiment.name} has no saved view. Run it again: python -m bdray.study {experiment.name}")
    return found


def save(page: "Page", path: Path) -> None:
    """Write a picture of what the window shows, as small as a README needs it."""
    page.wait_for_timeout(1500)  # lines are drawn, and boxes grow into place
    shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
    shot.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has {path.stat().st_size} bytes; the README's pictures have at most {LARGEST}.")
    print(f"{path}: {shot.width} x {shot.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
