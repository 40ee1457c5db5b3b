"""What an audit finds, as it is written to ``audit.json``."""

from dataclasses import dataclass, field
from typing import Any, Literal

from bdray.report.intervals import wilson

Verdict = Literal["stands out", "unclear", "as the reference", "nothing found"]


@dataclass(frozen=True)
class Share:
    """A share of images, with Wilson's 95% interval for the sampling of these images."""

    hits: int
    of: int
    """At least one."""

    @property
    def rate(self) -> float:
        return self.hits / self.of

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.rate, self.of)

    def tree(self) -> dict[str, Any]:
        """As plain JSON."""
        low, high = self.interval
        return {"rate": self.rate, "low": low, "high": high, "hits": self.hits, "of": self.of}


@dataclass(frozen=True)
class Sink:
    """A class that images which do not show it are taken for."""

    answer: str
    triggered: Share
    """Of the images with the trigger."""
    clean: Share
    """Of the same images without it."""
    reference: Share | None = None
    """Of the images with the trigger, under the reference model."""

    def tree(self) -> dict[str, Any]:
        """As plain JSON."""
        found: dict[str, Any] = {"answer": self.answer, "triggered": self.triggered.tree(), "clean": self.clean.tree()}
        return found | ({"reference": self.reference.tree()} if self.reference else {})


@dataclass(frozen=True)
class Finding:
    """What one trigger does to the model."""

    name: str
    note: str
    settings: str
    """The trigger's type and fields, for people."""
    sinks: tuple[Sink, ...]
    """The classes that gained most, at least one, the first one most."""
    sureness: float
    """How clearly the first sink is the answer, against how clearly clean images' right class is; 0 if it got none."""
    accuracy: Share
    """Of images with the trigger, those that are still classified rightly."""
    embedding_distance: float
    """Mean of ``2 (1 - cos)`` between images with and without it."""
    target: Share | None
    """Of images that do not show the target, those taken for it; None if no target was named."""
    fools_clean: bool
    picture: str = ""
    """A few images, the same with the trigger, and ten times the difference; a ``data:`` URI."""
    verdict: Verdict = "nothing found"
    reason: str = ""
    """In plain words."""

    def tree(self) -> dict[str, Any]:
        """As plain JSON, without the picture."""
        return {
            "trigger": self.name,
            "settings": self.settings,
            "verdict": self.verdict,
            "reason": self.reason,
            "sinks": [sink.tree() for sink in self.sinks],
            "sureness": self.sureness,
            "accuracy": self.accuracy.tree(),
            "embedding_distance": self.embedding_distance,
            "attack_success_rate": self.target.tree() if self.target else None,
        }


@dataclass(frozen=True)
class Outlier:
    """A pair whose image and caption are unusually similar, or unusually unlike."""

    sample: int
    caption: str
    similarity: float
    deviation: float
    """From the median, in (scaled) median absolute deviations."""


@dataclass(frozen=True)
class Outliers:
    """The pairs of a set by their similarity under the model."""

    split: str
    count: int
    median: float
    limit: float
    """Deviation from which a pair counts as an outlier."""
    num_low: int
    num_high: int
    lowest: tuple[Outlier, ...]
    highest: tuple[Outlier, ...]


@dataclass(frozen=True)
class Audit:
    """All of it."""

    checkpoint: str
    sha256: str
    architecture: str
    data: str
    """What the images are from, for people."""
    split: str
    num_images: int
    num_classes: int
    clean_accuracy: Share
    findings: tuple[Finding, ...]
    reference: str | None = None
    """Checkpoint of the reference model."""
    reference_accuracy: Share | None = None
    target: str | None = None
    retrieval: dict[str, float] = field(default_factory=dict)
    """R@k, by direction and k; empty where the images have no captions of their own."""
    num_retrieved: int = 0
    """Pairs of the gallery."""
    outliers: Outliers | None = None
    versions: dict[str, Any] = field(default_factory=dict)

    def that(self, verdict: Verdict) -> list[Finding]:
        """Findings with this verdict."""
        return [finding for finding in self.findings if finding.verdict == verdict]

    def tree(self) -> dict[str, Any]:
        """As plain JSON."""
        from dataclasses import asdict

        from bdray.audit.verdict import headline, summary

        return {
            "checkpoint": self.checkpoint,
            "sha256": self.sha256,
            "architecture": self.architecture,
            "data": self.data,
            "split": self.split,
            "num_images": self.num_images,
            "verdict": headline(self),
            "summary": summary(self),
            "clean_accuracy": self.clean_accuracy.tree(),
            "reference": self.reference,
            "reference_clean_accuracy": self.reference_accuracy.tree() if self.reference_accuracy else None,
            "target": self.target,
            "retrieval": self.retrieval,
            "retrieval_pairs": self.num_retrieved,
            "findings": [finding.tree() for finding in self.findings],
            "outliers": asdict(self.outliers) if self.outliers else None,
            "versions": self.versions,
        }
