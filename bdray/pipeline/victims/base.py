"""What a victim is: the poisoned model that defenses are tried on."""

from typing import ClassVar

from pydantic import Field

from bdray.registry import Component, component


@component
class Victim(Component):
    """Where the poisoned model comes from, and which samples it was trained on."""

    default_type: ClassVar[str | None] = "trained"

    type: str
    num_samples: int | None = Field(default=None, ge=2)
    """Pairs of the train split that it is trained on, drawn at random; None: all of it."""

    @property
    def knows_poisoned_set(self) -> bool:
        """Whether the experiment describes what it was trained on."""
        return True
