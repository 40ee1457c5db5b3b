"""Labels as names that MLflow takes."""

import pytest

from bdray.tracking import spell


@pytest.mark.parametrize(
    ("label", "name"),
    [("ASR@10", "ASR top 10"), ("τ+", "τ plus"), ("τ-", "τ-"), ("L∞", "L inf"), ("λ₂", "λ₂"), ("a%", "a_")],
)
def test_labels_are_spelled_so_that_they_stay_apart(label: str, name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert spell(label) == name
    # MLflow agrees.
    _validate_metric_name(name)
