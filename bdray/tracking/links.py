"""Addresses of MLflow's pages, from the ``#`` on.

All of them ask for the part of MLflow that is about training: left alone, it opens the one about language models.
"""

import json
from collections.abc import Sequence
from urllib.parse import urlencode

EXPERIMENT, RUN = "{experiment}", "{run}"
"""Stand for ids in the addresses of a record, until the writer learns them from MLflow."""
MOST_COMPARED = 100
"""Runs in an address, which must stay shorter than browsers and servers allow."""


def fill(text: str, experiment: str, run_id: str) -> str:
    """Put ids where a text has their places."""
    return text.replace(EXPERIMENT, experiment).replace(RUN, run_id)


def describe(text: str, view: str | None, report: str | None) -> str:
    """A study's description with links before it, as Markdown; their ids are still to be filled in."""
    pages = {"Table": table(EXPERIMENT, view), "Charts": charts(EXPERIMENT, view)} if view else {}
    pages |= {"Report": file(EXPERIMENT, RUN, report)} if report else {}
    return " · ".join([*(f"[{title}]({page})" for title, page in pages.items()), text])


def table(experiment: str, view: str | None) -> str:
    """The runs of an experiment in a table, as a saved view has it."""
    return f"#/experiments/{experiment}/runs?{_query(view)}"


def charts(experiment: str, view: str | None) -> str:
    """The same in charts."""
    return f"#/experiments/{experiment}/runs?{_query(view, compareRunsMode='CHART')}"


def run(experiment: str, run_id: str) -> str:
    """One run."""
    return f"#/experiments/{experiment}/runs/{run_id}?{_query(None)}"


def file(experiment: str, run_id: str, path: str) -> str:
    """A file of a run."""
    return f"#/experiments/{experiment}/runs/{run_id}/artifacts/{path}?{_query(None)}"


def comparison(experiment: str, run_ids: Sequence[str]) -> str:
    """Runs side by side."""
    # MLflow finds the runs only where they come first.
    return f"#/compare-runs?{urlencode({'runs': _list(run_ids), 'experiments': _list([experiment])})}&{_query(None)}"


def _query(view: str | None, **more: str) -> str:
    shared = {"viewStateShareKey": view} if view else {}
    return urlencode({"workflowType": "machine_learning", **more, **shared})


def _list(ids: Sequence[str]) -> str:
    return json.dumps(list(ids), separators=(",", ":"))
