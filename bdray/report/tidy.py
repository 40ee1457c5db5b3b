"""All numbers of a study in one long table: what its tables and figures are made from, and what other tools may read.

One row per model, split, epoch and metric. Studies concatenate: each row says which study it is from, and the keys of
its model and its victim in the store, by which rows of different studies are known to be of the same models.

| column | holds |
|---|---|
| `study`, `study_id`, `base` | name and hash of the study, and the experiment that it starts from |
| `role` | `victim`: poisoned and not defended; `trial`: a point of the study |
| `status` | `done`, `failed` or `pruned` (stopped early, so without numbers of a finished model) |
| `number` | a search's number of the trial: the order in which it asked for points |
| `key`, `victim_key` | of the model, and of the victim that it was made from, in the store; empty where not known |
| `trigger_type`, `defense_type` | of the attack and the defense; `none`: not defended |
| `seed` | of the poisoning, the victim and the defense |
| `axis.FIELD` | one column for each axis: the point's value; empty for victims that do not depend on it |
| `split` | `test` or `validation`: the images that the number is about; empty for times and detections |
| `epoch` | counted from 1 in the model's own stage; empty: of the finished model |
| `metric`, `value`, `unit` | rates are fractions; unit `fraction`, `dB`, `s`, `count`, or empty |
| `num_images` | how many images a rate is a share of, where that was recorded |
| `low`, `high` | the rate's 95% Wilson interval, for the sampling of these images only, not of trainings |
"""

import math
from typing import TYPE_CHECKING

from bdray.report import sampling
from bdray.report.intervals import wilson
from bdray.report.results import COLUMNS, TEXT_COLUMNS, Results
from bdray.report.study import DETECTION, Metric

if TYPE_CHECKING:
    import pandas as pd

AXIS = "axis."
"""Starts the names of the axes' columns, which are thus free to be called ``seed`` or ``value``."""
IDENTITY = ("role", "status", "number", "key", "victim_key", "trigger_type", "defense_type", "seed", "epoch")
TEXTS = ("study", "study_id", "base", *TEXT_COLUMNS, "split", "metric", "unit")
NUMBERS = ("number", "epoch", "value", "num_images", "low", "high")
SECONDS = "train_seconds"


def tidy(results: Results) -> "pd.DataFrame":
    """The study's long table; columns as described above, rows in the order of ``results.csv`` and ``history.csv``."""
    import pandas as pd

    study = results.study
    history = _with_identity(results)
    final, epochs = _long(results, results.models), _long(results, history)
    final["split"] = [_split(name, study.split) for name in final["metric"]]
    epochs["split"] = [_split(name, "validation") for name in epochs["metric"]]
    frame = pd.concat([part for part in (final, epochs) if len(part)] or [final], ignore_index=True)
    frame.insert(0, "study", study.name)
    frame.insert(1, "study_id", study.id)
    frame.insert(2, "base", study.base)
    frame["unit"] = frame["metric"].map({name: _unit(name) for name in frame["metric"].unique()})
    bounds = [
        wilson(value, int(n)) if n >= 1 else (math.nan, math.nan)
        for value, n in zip(frame["value"], frame["num_images"], strict=True)
    ]
    frame["low"], frame["high"] = [low for low, _ in bounds], [high for _, high in bounds]
    axes = [f"{AXIS}{axis.field}" for axis in study.axes]
    order = ["study", "study_id", "base", *IDENTITY[:-1], *axes, "split", "epoch", "metric", "value", "unit"]
    # Also where a column is empty, so that the files of several studies fit each other.
    types: dict[str, str] = dict.fromkeys(TEXTS, "string") | dict.fromkeys(NUMBERS, "float64") | {"seed": "int64"}
    return frame[[*order, "num_images", "low", "high"]].astype(types)


def _with_identity(results: Results) -> "pd.DataFrame":
    """The history with what only ``results.csv`` says of each model."""
    history = results.history
    missing = [name for name in IDENTITY if name not in history.columns and name in results.models.columns]
    if "key" not in history.columns or "key" not in results.models.columns or not missing:
        return history
    known = results.models.drop_duplicates("key").set_index("key")[missing]
    return history.join(known, on="key")


def _long(results: Results, frame: "pd.DataFrame") -> "pd.DataFrame":
    """One row per row and number of a frame; missing numbers have none."""
    fields = [axis.field for axis in results.study.axes]
    names = {name: name for name in IDENTITY} | {field: f"{AXIS}{field}" for field in fields}
    wide = frame.reindex(columns=[*names, *(c for c in frame.columns if c not in names)])
    metrics = [c for c in wide.columns if c not in names and (c not in COLUMNS or c == SECONDS)]
    long = wide.reset_index(names="row").melt(id_vars=["row", *names], value_vars=metrics, var_name="metric")
    long = long[long["value"].notna()].sort_values("row", kind="stable").reset_index(drop=True)
    counts = {name: frame[name] for name in sampling.COUNTS if name in frame.columns}
    columns = [counts.get(sampling.count_column(name) or "") for name in long["metric"]]
    long["num_images"] = [
        math.nan if column is None else column.loc[row] for column, row in zip(columns, long["row"], strict=True)
    ]
    return long.rename(columns=names).drop(columns="row")


def _split(metric: str, split: str) -> str:
    """Of which images a number is: times, losses and detections are of none of these."""
    is_of_training = metric == SECONDS or metric.endswith("loss") or metric.startswith(DETECTION)
    return "" if is_of_training else split


def _unit(metric: str) -> str:
    if metric == SECONDS:
        return "s"
    known = Metric(name=metric, label="", goal="max")
    if known.is_rate:
        return "fraction"
    return "count" if metric.endswith("_positives") else known.unit
