"""What computed a study's results, as its file of results says."""

import math
from datetime import UTC, datetime
from typing import Any

from bdray.pipeline.store import Manifest

SAME = ("commit", "python", "versions")
"""Fields of manifests that mostly agree; where they do not, all that occur are listed."""


class Provenance:
    """Sums up manifests, of which it keeps none, for a study may have thousands.

    All comes from the results themselves, so that a rerun that computes nothing changes nothing.
    """

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._distinct: dict[str, list[Any]] = {name: [] for name in SAME}
        self._workers: set[str] = set()
        self._started, self._ended, self._seconds = math.inf, -math.inf, 0.0

    def add(self, manifest: Manifest) -> None:
        """Count a model's manifest, once."""
        if manifest["key"] in self._keys:
            return
        self._keys.add(manifest["key"])
        for name, values in self._distinct.items():
            if manifest[name] not in values:
                values.append(manifest[name])
        self._workers.add(manifest["worker"].partition(":")[0])
        self._started = min(self._started, manifest["started"])
        self._ended = max(self._ended, manifest["started"] + manifest["seconds"])
        self._seconds += manifest["seconds"]

    @property
    def described(self) -> dict[str, Any]:
        """In the types of JSON; empty where nothing was computed so far."""
        if not self._keys:
            return {}
        return {
            **{name: values[0] if len(values) == 1 else [*values] for name, values in self._distinct.items()},
            "workers": sorted(self._workers),
            "started": datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            "finished": datetime.fromtimestamp(self._ended, UTC).isoformat(timespec="seconds"),
            "training_seconds": round(self._seconds, 1),
        }
