"""Which failures of a group of Ray Train workers come again. The errors are Ray Train's own, as ``fit`` raises them."""

from ray.exceptions import ActorDiedError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckTimeoutError

from bdray.exceptions import LostResultError, TrainingError
from bdray.study.faults import may_pass_in_a_group
from bdray.training.trainer import lasting_error

DEAD = ActorDiedError()
NAN = TrainingError("the loss is nan")
ALONE = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:1")


def failed(*errors: Exception) -> WorkerGroupError:
    """What ``fit`` raises after these of the first workers."""
    return WorkerGroupError("words", dict(enumerate(errors)))


def test_a_group_is_not_started_again_for_what_would_come_again() -> None:
    assert lasting_error(failed(NAN), may_pass_in_a_group) is NAN
    # Whichever worker raised it, and whatever that did to the others.
    assert lasting_error(failed(ALONE, NAN), may_pass_in_a_group) is NAN
    assert isinstance(lasting_error(failed(ValueError("a bug")), may_pass_in_a_group), ValueError)


def test_a_group_is_started_again_for_what_may_pass() -> None:
    # A worker that was killed takes the others along.
    assert lasting_error(failed(DEAD, ALONE), may_pass_in_a_group) is None
    assert lasting_error(failed(ALONE), may_pass_in_a_group) is None
    assert lasting_error(failed(WorkerHealthCheckTimeoutError("no answer")), may_pass_in_a_group) is None
    # A damaged result was set aside, so that the next start computes it anew.
    assert lasting_error(failed(LostResultError("it is gone", "key")), may_pass_in_a_group) is None
    # Of trouble before there are workers Ray Train has a limit of its own.
    assert lasting_error(ControllerError(ValueError("no room")), may_pass_in_a_group) is None
