"""What a trial's process does between trials."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from bdray.study import worker


class Model:
    """Refers to itself, as optimizers and schedules of PyTorch do."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def tidied() -> Iterator[None]:
    """After a first trial; this process looks at everything again in the end."""
    worker._pass_over_libraries.cache_clear()
    worker._tidy_up()
    yield
    gc.unfreeze()


def test_tidying_up_frees_a_trials_model_and_passes_over_libraries(tidied: None) -> None:
    # Half a million objects that every trial would look at.
    libraries = gc.get_freeze_count()
    assert libraries > 100_000
    gone = weakref.ref(Model())
    worker._tidy_up()
    assert gone() is None
    # What a trial leaves is not passed over: its cycles could never be freed.
    kept = Model()
    worker._tidy_up()
    assert gc.get_freeze_count() <= libraries
    gone = weakref.ref(kept)
    del kept
    worker._tidy_up()
    assert gone() is None
