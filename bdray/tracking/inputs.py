"""The data sets that a run read, as MLflow lists them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

CONTEXT_TAG = "mlflow.data.context"


@dataclass(frozen=True)
class DataInput:
    """A data set that a run was trained or judged on.

    Within an experiment MLflow takes two of the same name and digest for one, and keeps what the first says of itself.
    """

    name: str
    """For people; unique among the inputs of a run."""
    digest: str
    """Hash of everything that decides the data; at most 36 characters."""
    context: Literal["training", "evaluation"]
    """What the run used it for."""
    source: Mapping[str, Any]
    """How to make or find it, in the types of JSON."""
    profile: Mapping[str, Any]
    """Numbers of it; ``num_rows`` is what MLflow shows."""

    @property
    def record(self) -> dict[str, Any]:
        """In the types of JSON."""
        return asdict(self)


def to_mlflow(record: Mapping[str, Any]) -> "DatasetInput":
    """The input that a record holds."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=record["name"],
        digest=record["digest"],
        source_type="bdray",
        source=json.dumps(record["source"]),
        profile=json.dumps(record["profile"]),
    )
    return DatasetInput(dataset, [InputTag(CONTEXT_TAG, record["context"])])
