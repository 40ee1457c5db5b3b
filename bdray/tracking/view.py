"""How MLflow's page of a study looks at first: a saved view, which MLflow keeps as a tag of the experiment.

Without one, the page shows neither knobs nor metrics. The state is MLflow's own (``ExperimentPageUIState`` and
``ExperimentPageSearchFacetsState`` of its user interface, version 3.17): fields that another version does not know are
ignored by it, those that are missing get its defaults.
"""

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import Any

TAG = "mlflow.sharedViewState."
"""Begins the names of tags that hold saved views; the rest is the view's key."""
ATTRIBUTES = ("runDateAndNestInfo", "duration")
"""Columns of MLflow that cannot be turned off."""


@dataclass(frozen=True)
class View:
    """A table and charts of a study's results."""

    knobs: tuple[str, ...]
    """Parameters that the study turns."""
    metrics: tuple[str, ...]
    """Results, the most important ones first."""
    curves: tuple[str, ...] = ()
    """Metrics to draw by epoch."""
    filter: str = ""
    """Which runs to show, in MLflow's language."""
    order: str = ""
    """Column to sort by, ``params.`λ₂```; empty for the time of creation."""
    ascending: bool = True

    @property
    def name(self) -> str:
        """For people."""
        return ": ".join(", ".join(names) for names in (self.knobs, self.metrics[:2]) if names)

    @property
    def key(self) -> str:
        """Tells the view from others of its experiment: studies that turn and measure the same share it."""
        text = json.dumps([self.knobs, self.metrics, self.filter])
        return f"bdray-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def tag(self) -> tuple[str, str]:
        """Name and value of the experiment's tag; the same for equal views."""
        state = base64.b64encode(zlib.compress(json.dumps(self.state()).encode())).decode()
        # With a time of its own, each run of a study would write the tag anew. 0 puts it below the user's own views.
        return f"{TAG}{self.key}", json.dumps({"name": self.name, "createdAt": 0, "state": f"deflate;{state}"})

    def state(self) -> dict[str, Any]:
        """What MLflow's page remembers."""
        own = [*_columns("params", self.knobs), "params.`seed`", *_columns("metrics", self.metrics)]
        return {
            "searchFilter": self.filter,
            "orderByKey": self.order or "attributes.start_time",
            "orderByAsc": self.ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": [*own, "attributes.`Dataset`"],
            "columnOrder": ["attributes.`Run Name`", *own, *ATTRIBUTES, "attributes.`Dataset`"],
            "columnWidths": {"attributes.`Run Name`": 260, **dict.fromkeys(_columns("params", self.knobs), 140)},
            "runsHiddenMode": "SHOW_ALL",
            "compareRunSections": [
                _section("results", "Results"),
                _section("epochs", "By epoch"),
                # MLflow adds a chart for every other metric; these are its names for where.
                _section("others", "Model metrics", is_open=False),
            ],
            "compareRunCharts": [*self._results(), *(_curve(name) for name in self.curves)],
            "isAccordionReordered": True,
        }

    def _results(self) -> list[dict[str, Any]]:
        """Knobs and metrics in parallel, the first two metrics over the first two knobs, and against each other."""
        first, *others = self.metrics
        # The last axis gives the lines their color.
        parallel = _card("PARALLEL", "all", selectedParams=list(self.knobs), selectedMetrics=[*others[:1], first])
        cards = [parallel] if self.knobs else []
        cards += [
            _card("SCATTER", f"{knob} {name}", xaxis=_axis("PARAM", knob), yaxis=_axis("METRIC", name))
            for knob in self.knobs[:2]
            for name in self.metrics[:2]
        ]
        if others:
            cards.append(_card("SCATTER", "both", xaxis=_axis("METRIC", others[0]), yaxis=_axis("METRIC", first)))
        return cards


def _columns(kind: str, names: tuple[str, ...]) -> list[str]:
    return [f"{kind}.`{name}`" for name in names]


def _axis(kind: str, name: str) -> dict[str, str]:
    return {"key": name, "type": kind}


def _section(key: str, name: str, *, is_open: bool = True) -> dict[str, Any]:
    return {
        "uuid": key,
        "name": name,
        "display": is_open,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": 2,
        "cardHeight": 360,
    }


def _card(kind: str, key: str, section: str = "results", **content: Any) -> dict[str, Any]:
    common = {"type": kind, "uuid": key, "metricSectionId": section, "deleted": False, "isGenerated": False}
    return {**common, "runsCountToCompare": 100, **content}


def _curve(metric: str) -> dict[str, Any]:
    return _card(
        "LINE",
        metric,
        "epochs",
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="step",
        xAxisScaleType="linear",
        scaleType="linear",
        lineSmoothness=0,
        useGlobalLineSmoothing=False,
        useGlobalXaxisKey=False,
    )
