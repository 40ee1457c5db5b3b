"""What a defense is: it turns a poisoned model, or poisoned data, into a model that, it hopes, has no backdoor."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bdray.registry import Component, component
from bdray.training.optim import Recipe

if TYPE_CHECKING:
    import open_clip

    from bdray.attacks.poisoned_set import PoisonedSet
    from bdray.checkpoint import History
    from bdray.data.base import Pairs
    from bdray.training.session import Session


@dataclass(frozen=True)
class DefenderData:
    """What a defender has to work with. Reading what the defense did not declare is a mistake of its author."""

    clean: "Pairs | None" = None
    """Clean pairs, for defenses with :attr:`Defense.reads_clean`."""
    poisoned: "PoisonedSet | None" = None
    """What the victim was trained on, for defenses with :attr:`Defense.reads_poisoned`. Which pairs are poisoned is in
    there to measure a detection, never to make one."""
    num_classes: int = 0
    """Classes of the zero-shot task, which label the clean pairs."""
    clean_model: "Callable[[], open_clip.CLIP] | None" = None
    """Loads a model that nobody poisoned, in eval mode, for defenses with :attr:`Defense.needs_clean_model`."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much a defender has to work with, as far as it is known before anything is read."""

    trained: int
    """Pairs of the poisoned training set."""
    clean: int = 0
    """Clean pairs of the defender; 0 for a defense that reads none."""
    classes: int = 0
    """Classes of the zero-shot task."""


@component
class Defense(Component):
    """Repairs a poisoned model, or trains on poisoned data such that there is nothing to repair."""

    starts_from: ClassVar[Literal["victim", "base"]] = "victim"
    """``victim``: the poisoned model. ``base``: what the attacker's victim starts from, too; such a defense trains on
    the poisoned set in the victim's place."""
    reads_clean: ClassVar[bool] = False
    """Whether it needs clean pairs."""
    reads_poisoned: ClassVar[bool] = False
    """Whether it needs the poisoned training set."""
    detection_names: ClassVar[tuple[str, ...]] = ()
    """What it measures of itself beside the evaluation: numbers of its epochs whose names start with ``detection_``."""

    type: str
    recipe: Recipe
    """How the defense trains."""

    @property
    def needs_clean_model(self) -> bool:
        """Whether it needs a model that nobody poisoned; a member may answer for all its values by a ``ClassVar``."""
        return False

    @property
    def epochs(self) -> int:
        """Epochs of all its phases."""
        return self.recipe.epochs

    @abstractmethod
    def images(self, sizes: Sizes) -> int:
        """Images that pass a model forward and backward, to estimate what a run will cost."""

    def check(self, sizes: Sizes) -> None:
        """Refuse to start where something is missing or does not fit.

        Raises:
            BdrayError: That names it and says what to do.
        """

    @abstractmethod
    def run(self, model: "open_clip.CLIP", data: DefenderData, session: "Session") -> "History":
        """Repair ``model`` in place.

        Args:
            model: What the defense starts from, on the session's device.
            data: What the defender has.
            session: Trains, reports and checkpoints.

        Returns:
            The metrics of every epoch of all phases.
        """


@component
class CleanDataDefense(Defense):
    """A defense that finetunes the victim on clean pairs."""

    reads_clean: ClassVar[bool] = True

    num_samples: int | None = Field(default=None, ge=2)
    """Clean pairs that the defender has, drawn at random; None: all there are."""
    clean_data: Literal["finetune", "train", "train_unpoisoned"] = "finetune"
    """Where these come from. ``finetune``: a split of their own, disjoint from what the attacker trained on. ``train``:
    the clean originals of the training split, poisoned samples among them, as in the papers. ``train_unpoisoned``:
    the same without the poisoned ones. The overlap with the poisoned set is recorded."""

    @property
    def views(self) -> int:
        """How many views of each sample pass the model in a step."""
        return 1

    def images(self, sizes: Sizes) -> int:
        return sizes.clean * self.recipe.epochs * self.views
