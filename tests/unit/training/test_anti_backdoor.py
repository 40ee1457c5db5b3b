"""ABL's objective: App. H of CleanCLIP on a batch of any mix, and when it detects."""

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray

from bdray.losses import clip_loss
from bdray.objective import Batch, ContrastiveObjective
from bdray.testing import tiny_model
from bdray.training.anti_backdoor import AntiBackdoorObjective, Floats

COUNT, SAMPLES = 6, [11, 3, 8, 0, 5, 9]


def batch() -> Batch:
    """Six samples of a training set of twelve, float64."""
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.randn(COUNT, 3, 32, 32, generator=generator, dtype=torch.float64),
        tokens=torch.randint(1, 800, (COUNT, 16), generator=generator),
        samples=torch.tensor(SAMPLES),
        is_poisoned=torch.zeros(COUNT, dtype=torch.bool),
    )


def objective(suspicious: list[int], epoch: int = 0, **fields: float) -> AntiBackdoorObjective:
    """Calls these positions of the training set suspicious when asked to detect."""

    def score(model: open_clip.CLIP) -> Floats:
        return np.linspace(-1, 1, 12, dtype=np.float32)

    def choose(scores: Floats) -> NDArray[np.int64]:
        return np.array(suspicious, dtype=np.int64)

    return AntiBackdoorObjective(12, score, choose, detection_epoch=epoch, **fields)


def test_suspicious_pairs_are_driven_to_the_target_and_the_others_contrasted_among_themselves() -> None:
    model, data = tiny_model("vit").double(), batch()
    minimized = objective([0, 1, 3, 9], unlearning_weight=3.0, target=0.25)
    minimized.start_epoch(model, 0)
    loss = minimized(model, data)
    images = model.encode_image(data.images, normalize=True)
    texts = model.encode_text(data.tokens, normalize=True)
    # Samples 3, 0 and 9 of the batch are suspicious; sample 1 is, too, but elsewhere.
    suspicious, others = [1, 3, 5], [0, 2, 4]
    similarities = (images[suspicious] * texts[suspicious]).sum(1)
    expected = clip_loss(images[others], texts[others], model.logit_scale.exp())
    torch.testing.assert_close(loss.terms["clip_loss"], expected, rtol=0, atol=1e-12)
    unlearned = ((similarities - 0.25) ** 2).mean()
    torch.testing.assert_close(loss.terms["unlearning_loss"], unlearned, rtol=0, atol=1e-12)
    # The second term has the weight alpha.
    torch.testing.assert_close(loss.total, expected + 3 * unlearned, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("suspicious", "zero"),
    [([], {"unlearning_loss"}), (SAMPLES, {"clip_loss"}), (SAMPLES[1:], {"clip_loss"}), (SAMPLES[:1], set())],
    ids=["none suspicious", "all suspicious", "one other", "one suspicious"],
)
def test_a_term_without_pairs_is_zero(suspicious: list[int], zero: set[str]) -> None:
    model = tiny_model("vit").double()
    minimized = objective(suspicious)
    minimized.start_epoch(model, 0)
    loss = minimized(model, batch())
    loss.total.backward()
    # Zero and not NaN; a single pair has nothing to be told apart from.
    assert {name for name, term in loss.terms.items() if term.item() == 0} == zero
    # Every parameter has a gradient, for which Distributed Data Parallel would wait for ever.
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


def test_without_suspicion_it_is_clip() -> None:
    first, second, data = tiny_model("vit").double(), tiny_model("vit").double(), batch()
    objective([])(first, data).total.backward()
    ContrastiveObjective()(second, data).total.backward()
    # Before the detection, and with an empty D_p: the gradient of plain training.
    for name, parameter in first.named_parameters():
        torch.testing.assert_close(parameter.grad, second.get_parameter(name).grad, rtol=0, atol=1e-14)


def test_it_detects_once_and_remembers() -> None:
    model, minimized = tiny_model("vit"), objective([2, 7], epoch=1)
    minimized.start_epoch(model, 0)
    # Not before its time.
    scores, suspicious = minimized.detected()
    assert np.isnan(scores).all()
    assert not suspicious.any()
    minimized.start_epoch(model, 1)
    scores, suspicious = minimized.detected()
    assert scores.tolist() == np.linspace(-1, 1, 12, dtype=np.float32).tolist()
    assert np.flatnonzero(suspicious).tolist() == [2, 7]
    # A new process that starts with a later epoch has it from the checkpoint.
    other = objective([4], epoch=1)
    other.load_state_dict(minimized.state_dict())
    other.start_epoch(model, 2)
    assert np.flatnonzero(other.detected()[1]).tolist() == [2, 7]
    # One that died in the epoch of the detection detects anew, with nothing left of the first attempt.
    other.start_epoch(model, 1)
    assert np.flatnonzero(other.detected()[1]).tolist() == [4]
