"""Names, texts and numbers as MLflow takes them, without secrets."""

import math
import re
from collections.abc import Mapping
from typing import Any

# Limits of mlflow.utils.validation.
NAME_LIMIT, PARAM_LIMIT, TAG_LIMIT = 250, 6000, 8000

NONFINITE_TAG = "bdray.nonfinite"
"""Prefix: ``bdray.nonfinite.METRIC`` says when METRIC was last NaN or infinite, which MLflow cannot plot."""


SPELLED = str.maketrans({"@": " top ", "+": " plus", "∞": " inf"})


def spell(label: str) -> str:
    """A label as a name that MLflow takes: ``ASR top 10`` for ``ASR@10``."""
    return _name(label.translate(SPELLED))


def redact(text: str) -> str:
    """Hide the ``user:password`` of every URL in a text."""
    return re.sub(r"(?<=://)[^/\s]*@", "***@", text)


def texts(values: Mapping[str, Any], limit: int) -> dict[str, str]:
    """Parameters or tags; what is too long ends in a remark."""
    return {_name(name): _shorten(redact(str(value)), limit) for name, value in values.items()}


def split(metrics: Mapping[str, float], when: str) -> tuple[dict[str, float], dict[str, str]]:
    """The finite metrics, and a tag for each of the others."""
    values = {_name(name): float(value) for name, value in metrics.items()}
    finite = {name: value for name, value in values.items() if math.isfinite(value)}
    others = {f"{NONFINITE_TAG}.{name}": f"{values[name]} at {when}" for name in values.keys() - finite}
    return finite, texts(others, TAG_LIMIT)


def one_line(error: BaseException) -> str:
    """What an error says, to be quoted in another."""
    return _shorten(redact(" ".join(str(error).split())), 300)


def _name(name: str) -> str:
    return re.sub(r"[^/\w.\- :]", "_", name)[:NAME_LIMIT]


def _shorten(text: str, limit: int) -> str:
    remark = f"... (cut, {len(text)} characters)"
    return text if len(text) <= limit else text[: limit - len(remark)] + remark
