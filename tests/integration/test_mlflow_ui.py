"""What people see of a study in MLflow, in a real browser: opened by the command and the links that the study gives."""

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bdray.tracking.location import UI_PORT

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page

    from tests.integration.conftest import Output

Study = Callable[..., int]
STUDY, LAMBDA = "smoke/lambda2", "defense.in_modal_weight"
ROOT = Path(__file__).parents[2]
THEIRS = ("ajax-api/2.0/mlflow/users/current", "ResizeObserver loop", "> attribute ")
"""Complaints of MLflow's own: it asks a server without users for the current one, lets boxes that grow move others, and
draws an axis on which all runs agree, as those of the smallest study do, with rectangles of no number's height."""
pytestmark = pytest.mark.slow


def screenshots() -> Any:
    """The script that takes the README's pictures: it starts MLflow and the browser here, too."""
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "scripts" / "screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(smoke: "Output") -> Iterator[dict[str, str]]:
    """Addresses by what they show, of an MLflow that the study's own command started."""
    if importlib.util.find_spec("playwright") is None or screenshots().chromium() is None:
        pytest.skip("needs Playwright (the extra dev) and chromium on the PATH")
    told: dict[str, str] = json.loads((smoke.report(STUDY) / "study.json").read_text(encoding="utf-8"))["mlflow"]
    with screenshots().served(told["command"]) as address:
        kinds = ("table", "charts", "compare")
        yield {kind: told[kind].replace(f"http://127.0.0.1:{UI_PORT}", address) for kind in kinds}


@pytest.fixture(scope="module")
def browser(pages: dict[str, str]) -> "Iterator[BrowserContext]":
    with screenshots().browsing(1800, 1200) as opened:
        yield opened.context


@pytest.fixture
def page(browser: "BrowserContext") -> "Iterator[Page]":
    """A page that has nothing to complain about."""
    complaints: list[str] = []

    def hear(line: "ConsoleMessage") -> None:
        if line.type == "error" and not any(known in f"{line.text} {line.location}" for known in THEIRS):
            complaints.append(line.text)

    opened = browser.new_page()
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", hear)
    yield opened
    opened.close()
    assert complaints == []


def cell(page: "Page", run: str, column: str) -> "Locator":
    """A run's cell in the table, whose rows are in two halves: names stay where they are, the rest scrolls."""
    row = page.locator(".ag-row").filter(has=page.get_by_role("link", name=run, exact=True))
    row.first.wait_for()
    return page.locator(f'.ag-row[row-id="{row.first.get_attribute("row-id")}"] [col-id="{column}"]')


def axes(page: "Page") -> list[str]:
    """Titles of the axes of a plot of parallel coordinates, when its lines are drawn."""
    page.wait_for_function(
        """() => [...document.querySelectorAll('canvas')].some(canvas => {
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [canvas.width, canvas.height];
            if (!copy.width || !copy.height) return false;
            const pen = copy.getContext('2d');
            pen.drawImage(canvas, 0, 0);
            return pen.getImageData(0, 0, copy.width, copy.height).data.some(value => value > 0);
        })"""
    )
    return [str(text.text_content()) for text in page.locator(".parcoords .axis-title, .parcoords .label").all()]


def test_the_table_has_knobs_results_and_data_sets(smoke: "Output", page: "Page", pages: dict[str, str]) -> None:
    page.goto(pages["table"])
    for row in smoke.rows(STUDY):
        run = f"λ₂={row[LAMBDA]} seed=0" if row["role"] == "trial" else "victim seed=0"
        # Of victims and trials, the report's numbers, beside what they were made with.
        expected = {
            "params.`λ₂`": row[LAMBDA] or "-",
            "params.`seed`": "0",
            "metrics.`ASR`": f"{float(row['attack_success_rate_top1']):.4f}",
            "metrics.`CA`": f"{float(row['clean_accuracy_top1']):.4f}",
        }
        shown = {column: cell(page, run, column).inner_text().strip() for column in expected}
        assert shown | {name: f"{float(shown[name]):.4f}" for name in shown if "metrics" in name} == expected
    # What each was trained on, the poisons counted.
    assert "scenes finetune" in cell(page, "λ₂=1 seed=0", "attributes.`Dataset`").inner_text()
    assert re.search(r"scenes train, \d+ poisoned", cell(page, "victim seed=0", "attributes.`Dataset`").inner_text())
    # The base has no results, so it is not among them.
    assert page.get_by_role("link", name="base", exact=True).count() == 0


def test_selected_runs_are_compared(page: "Page", pages: dict[str, str]) -> None:
    page.goto(pages["table"])
    for run in ("λ₂=0 seed=0", "λ₂=1 seed=0"):
        cell(page, run, "1").get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/#/compare-runs?**")
    # The knob on one side, its effect on the other: a line for each run.
    page.locator(".parcoords").first.wait_for()
    assert axes(page) == ["λ₂", "ASR by epoch"]
    # The knob is in the tables below, and the results.
    page.get_by_role("rowheader", name="λ₂", exact=True).wait_for()
    for name in ("ASR", "CA"):
        page.get_by_role("link", name=name, exact=True).wait_for()


def test_the_reports_links_lead_to_charts_and_comparison(smoke: "Output", page: "Page", pages: dict[str, str]) -> None:
    written = (smoke.report(STUDY) / "report.html").read_text(encoding="utf-8")
    for address in pages.values():
        assert address.partition("#")[2].replace("&", "&amp;") in written
    page.goto(pages["charts"])
    for title in ("λ₂ vs. ASR", "λ₂ vs. CA", "CA vs. ASR", "ASR by epoch", "CA by epoch"):
        page.get_by_text(title, exact=True).first.wait_for()
    assert axes(page) == ["λ₂", "CA", "ASR"]
    page.goto(pages["compare"])
    page.get_by_text("Comparing 2 Runs from 1 Experiment").wait_for()
    assert axes(page) == ["λ₂", "ASR by epoch"]


def test_the_description_leads_to_the_report(page: "Page", pages: dict[str, str]) -> None:
    page.goto(pages["table"])
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Report", exact=True).click()
    # MLflow shows the whole page among the study's files, and the figure beside it.
    report = opened.value
    report.frame_locator("iframe").get_by_role("heading", name="What was found").wait_for()
    report.get_by_text("figure.png", exact=True).click()
    figure = report.get_by_role("img", name="report/figure.png")
    figure.wait_for()
    assert figure.evaluate("async image => { await image.decode(); return image.naturalWidth; }") > 0
    report.close()


def test_a_rerun_adds_nothing(smoke: "Output", run_study: Study) -> None:
    def everything() -> list[Any]:
        tracked = smoke.tracked(STUDY)
        experiment = tracked.client.get_experiment_by_name(STUDY)
        assert experiment is not None
        runs = [run.to_dictionary() for _, run in sorted(tracked.runs.items())]
        for run in runs:
            run["data"]["tags"].pop("commit")  # whoever works on bdray may have changed it meanwhile
        return [experiment.tags, *runs]

    before = everything()
    assert run_study(smoke, STUDY) == 0
    # No parameter, number, tag, input or view is new or different.
    assert everything() == before
