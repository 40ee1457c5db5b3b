"""The training loop: interrupted and continued it gives the very same model; and what it refuses and reports."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from bdray.attacks.attack import Attack
from bdray.attacks.triggers.blended import Blended
from bdray.checkpoint import Checkpointer, History
from bdray.exceptions import TrainingError
from bdray.models.clip import MAX_LOGIT_SCALE
from bdray.models.execution import Execution
from bdray.objective import Batch, ContrastiveObjective, Loss, StatefulObjective
from bdray.testing import TOWERS, Tower, tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.text.eda import Eda
from bdray.training.captions import augment_captions
from bdray.training.feed import Feed
from bdray.training.loop import train
from bdray.training.optim import Recipe

EPOCHS, STEPS = 3, 4


class Interruption(BaseException):
    """Stands for the death of the process."""


def feed(cache: Path) -> Feed:
    """Poisoned scenes with views: every source of randomness that a training has."""
    pairs = tiny_scenes().load("train", cache)
    poisoning = Attack(trigger=Blended(), num_poisoned=8).poison(pairs.captions, seed=0)
    captions, tokenizer = poisoning.replace_captions(pairs.captions), tiny_tokenizer()
    return Feed(
        images=pairs.images,
        tokens=tokenizer(captions),
        augmented_tokens=tokenizer(augment_captions(captions, Eda(), seed=0)),
        batch_size=16,
        seed=0,
        poisoning=poisoning,
    )


class Interrupted:
    """CleanCLIP's objective that dies at a step, counted from 0 over the whole training; never for None."""

    needs_views = True

    def __init__(self, at_step: int | None = None) -> None:
        self.at_step, self.calls = at_step, 0

    def __call__(self, model: open_clip.CLIP, batch: Batch) -> Loss:
        if self.calls == self.at_step:
            raise Interruption
        self.calls += 1
        return ContrastiveObjective(1.0, 1.0)(model, batch)


def run(
    model: open_clip.CLIP,
    cache: Path,
    checkpointer: Checkpointer | None = None,
    objective: Interrupted | None = None,
    report: Callable[[Mapping[str, float]], None] = lambda metrics: None,
    **more: Any,
) -> History:
    recipe = tiny_recipe(epochs=EPOCHS, gradient_clip=1.0)
    keeping = {"checkpointer": checkpointer, "report": report, **more}
    return train(model, objective or Interrupted(), feed(cache), recipe, **keeping)


def without_time(history: History) -> History:
    return [{name: value for name, value in entry.items() if name != "train_seconds"} for entry in history]


@pytest.mark.parametrize("tower", TOWERS)
def test_an_interrupted_training_gives_the_same_model(tower: Tower, cache: Path, tmp_path: Path) -> None:
    straight = tiny_model(tower)
    expected = run(straight, cache)

    # The process dies after two epochs and a half, comes back, and dies again before it has trained a step.
    checkpointer = Checkpointer(tmp_path / "state")
    for objective in (Interrupted(at_step=2 * STEPS + 2), Interrupted(at_step=0)):
        with pytest.raises(Interruption):
            run(tiny_model(tower), cache, checkpointer, objective)

    # A new process has a new model (here even with other weights) and a new optimizer; all state is in the checkpoint.
    continued, last = tiny_model(tower, seed=1), Interrupted()
    history = run(continued, cache, checkpointer, last)
    # Only the unfinished epoch is trained again,
    assert last.calls == STEPS
    # to bit-identical weights and running statistics,
    state = continued.state_dict()
    assert all(torch.equal(state[name], value) for name, value in straight.state_dict().items())
    # and to the same history.
    assert without_time(history) == without_time(expected)
    assert [entry["epoch"] for entry in history] == [1, 2, 3]

    # A finished training is read back without a step, and told once more, marked as the past.
    again, none = tiny_model(tower, seed=2), Interrupted(at_step=0)
    told: list[Mapping[str, float]] = []
    assert run(again, cache, checkpointer, none, report=told.append) == history
    assert told == [{**entry, "resumed": 1.0} for entry in history]
    assert all(torch.equal(again.state_dict()[name], value) for name, value in straight.state_dict().items())
    # One file is kept.
    assert list(checkpointer.folder.iterdir()) == [checkpointer.path]


def test_an_interruption_in_the_first_epoch_starts_over(cache: Path, tmp_path: Path) -> None:
    checkpointer, straight, again = Checkpointer(tmp_path), tiny_model("vit"), tiny_model("vit")
    with pytest.raises(Interruption):
        run(tiny_model("vit"), cache, checkpointer, Interrupted(at_step=1))
    expected, history = run(straight, cache), run(again, cache, checkpointer)
    # Nothing was saved, so nothing of the first attempt is left.
    assert without_time(history) == without_time(expected)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in straight.state_dict().items())


class Diverging:
    """A loss that is NaN in its second epoch."""

    needs_views = False

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, model: open_clip.CLIP, batch: Batch) -> Loss:
        self.calls += 1
        factor = float("nan") if self.calls == STEPS + 2 else 1.0
        return Loss({"clip_loss": ContrastiveObjective()(model, batch).total * factor})


def test_a_loss_that_is_not_finite_ends_the_training(cache: Path, tmp_path: Path) -> None:
    reports: list[Mapping[str, float]] = []
    checkpointer = Checkpointer(tmp_path)
    # The error names the epoch, the terms and what to do.
    with pytest.raises(TrainingError, match=r"^the loss is not finite in epoch 2: .*'clip_loss': nan.*learning rate"):
        train(
            tiny_model("vit"), Diverging(), feed(cache), tiny_recipe(), report=reports.append, checkpointer=checkpointer
        )
    # The last good epoch stays the checkpoint, and the bad one is not reported.
    recipe = tiny_recipe()
    model = tiny_model("vit")
    assert [entry["epoch"] for entry in checkpointer.load(model, recipe.optimizer(model))] == [1]
    assert [entry["epoch"] for entry in reports] == [1]
    assert all(value.isfinite().all() for value in model.state_dict().values() if value.is_floating_point())


def test_every_epoch_is_evaluated_in_eval_mode_and_reported(cache: Path) -> None:
    model, modes = tiny_model("resnet"), []
    reports: list[dict[str, float]] = []

    def evaluate() -> dict[str, float]:
        modes.append(model.training)
        return {"clean_accuracy_top1": len(modes) / 10}

    history = train(
        model,
        ContrastiveObjective(),
        feed(cache),
        tiny_recipe(),
        report=lambda metrics: reports.append(dict(metrics)),
        evaluate=evaluate,
    )
    # One evaluation and one report an epoch; the model is handed back ready for evaluation.
    assert modes == [False, False]
    assert not model.training
    assert reports == history
    # Losses by name, metrics and the epoch, counted from 1, are in one record.
    assert set(history[0]) == {"epoch", "loss", "clip_loss", "train_seconds", "clean_accuracy_top1"}
    assert [entry["clean_accuracy_top1"] for entry in history] == [0.1, 0.2]
    # Only clip_loss has a weight, so it is the loss.
    assert history[0]["loss"] == history[0]["clip_loss"]


def test_the_schedule_runs_over_all_epochs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    used: list[float] = []

    def rate(self: Recipe, step: int, steps_per_epoch: int) -> float:
        asked.append((step, steps_per_epoch))
        return 1e-3 / (step + 1)

    monkeypatch.setattr(Recipe, "rate", rate)
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW) -> None:
        used.extend(group["lr"] for group in self.param_groups)
        original(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train(tiny_model("vit"), ContrastiveObjective(), feed(cache), tiny_recipe(), report=lambda metrics: None)
    # Steps are counted over the whole training, and both parameter groups step at the rate of theirs.
    assert asked == [(step, STEPS) for step in range(2 * STEPS)]
    assert used == [1e-3 / (step + 1) for step in range(2 * STEPS) for _ in range(2)]


class Counting(StatefulObjective):
    """CleanCLIP in every second epoch, else CLIP; counts steps in a buffer, and listens to what it is told."""

    steps: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.started: list[tuple[int, int, int]] = []
        self.needs: bool = True

    @property
    def needs_views(self) -> bool:
        return self.needs

    def start_epoch(self, model: open_clip.CLIP, epoch: int, step: int = 0) -> None:
        self.started.append((epoch, step, int(self.steps)))
        self.needs = epoch % 2 == 1

    def forward(self, model: open_clip.CLIP, batch: Batch) -> Loss:
        # Batches have views in those epochs only that ask for them.
        assert (batch.augmented_images is not None) == self.needs
        assert (batch.augmented_tokens is not None) == self.needs
        self.steps += 1
        return ContrastiveObjective(1.0, float(self.needs))(model, batch)


def test_an_objective_may_remember(cache: Path, tmp_path: Path) -> None:
    first, second, checkpointer = Counting(), Counting(), Checkpointer(tmp_path)

    def die(metrics: Mapping[str, float]) -> None:
        if metrics["epoch"] == 2:
            raise Interruption

    with pytest.raises(Interruption):
        train(tiny_model("vit"), first, feed(cache), tiny_recipe(epochs=3), report=die, checkpointer=checkpointer)
    # It is told of every epoch before the first batch.
    assert first.started == [(0, 0, 0), (1, 0, STEPS)]
    train(
        tiny_model("vit"), second, feed(cache), tiny_recipe(epochs=3), report=lambda m: None, checkpointer=checkpointer
    )
    # Another process starts the next epoch with what the first one remembered.
    assert second.started == [(2, 0, 2 * STEPS)]
    assert second.steps.item() == 3 * STEPS


@pytest.mark.parametrize("at_step", [1, STEPS + 2, 3 * STEPS - 1])
@pytest.mark.parametrize("execution", [Execution(), Execution(precision="fp16")], ids=["fp32", "fp16"])
@pytest.mark.parametrize("tower", TOWERS)
def test_within_an_epoch_an_interrupted_training_gives_the_same_model(
    tower: Tower, execution: Execution, at_step: int, cache: Path, tmp_path: Path
) -> None:
    within = partial(run, cache=cache, execution=execution, checkpoint_minutes=1e-9)
    straight, continued, checkpointer = tiny_model(tower), tiny_model(tower, seed=1), Checkpointer(tmp_path)
    expected = run(straight, cache, execution=execution)
    with pytest.raises(Interruption):
        within(tiny_model(tower), checkpointer=checkpointer, objective=Interrupted(at_step))
    last = Interrupted()
    history = within(continued, checkpointer=checkpointer, objective=last)
    # No step is trained again,
    assert last.calls == EPOCHS * STEPS - at_step
    # and weights, statistics and means of losses are those of a training that kept nothing, to the bit.
    state = continued.state_dict()
    assert all(torch.equal(state[name], value) for name, value in straight.state_dict().items())
    assert without_time(history) == without_time(expected)


def test_states_within_epochs_are_kept_when_it_is_time(cache: Path, tmp_path: Path) -> None:
    for minutes, kept in ((None, 1), (60.0, 1), (1e-9, STEPS)):
        checkpointer = Checkpointer(tmp_path / str(minutes))
        seen: list[object] = []

        def keep(*state: object, seen: list[object] = seen, **more: object) -> None:
            seen.append(more["unfinished"])

        object.__setattr__(checkpointer, "save", keep)
        recipe = tiny_recipe(epochs=1)
        train(
            tiny_model("vit"),
            ContrastiveObjective(),
            feed(cache),
            recipe,
            report=lambda metrics: None,
            checkpointer=checkpointer,
            checkpoint_minutes=minutes,
        )
        # After every epoch, and in between only if asked to and if that long has passed; not twice at an epoch's end.
        assert len(seen) == kept
        assert seen[-1] is None


def test_an_objective_goes_on_within_an_epoch(cache: Path, tmp_path: Path) -> None:
    class Dying(Counting):
        def forward(self, model: open_clip.CLIP, batch: Batch) -> Loss:
            if self.steps == STEPS + 2:
                raise Interruption
            return super().forward(model, batch)

    second, checkpointer = Counting(), Checkpointer(tmp_path)
    keep = partial(train, report=lambda metrics: None, checkpointer=checkpointer, checkpoint_minutes=1e-9)
    with pytest.raises(Interruption):
        keep(tiny_model("vit"), Dying(), feed(cache), tiny_recipe())
    keep(tiny_model("vit"), second, feed(cache), tiny_recipe())
    # It is told that the second epoch goes on, and remembers the steps before.
    assert second.started == [(1, 2, STEPS + 2)]
    assert second.steps.item() == 2 * STEPS


def test_no_epochs_change_nothing(cache: Path) -> None:
    model = tiny_model("vit")
    assert train(model, ContrastiveObjective(), feed(cache), tiny_recipe(epochs=0), report=print) == []
    before = tiny_model("vit").state_dict()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_temperature_stays_within_its_bounds(cache: Path) -> None:
    for start, bound in ((10.0, MAX_LOGIT_SCALE), (-1.0, 0.0)):
        model = tiny_model("vit")
        torch.nn.init.constant_(model.logit_scale, start)
        train(
            model, ContrastiveObjective(), feed(cache), tiny_recipe(epochs=1, learning_rate=1e-6), report=lambda m: None
        )
        # log(1/tau) is clamped to [0, log 100] after every step (CleanCLIP, src/train.py:181).
        assert model.logit_scale.item() == pytest.approx(bound, abs=1e-4)
        assert 0 <= model.logit_scale.item() <= MAX_LOGIT_SCALE


def test_the_gradient_is_clipped_as_a_whole(cache: Path) -> None:
    moves = []
    for clip in (None, 1e-3):
        model, start = tiny_model("vit"), tiny_model("vit")
        # One step of AdamW with an epsilon so large that it is the gradient times lr / epsilon.
        recipe = tiny_recipe(
            epochs=1, batch_size=64, learning_rate=1e3, warmup_steps=0, weight_decay=0, epsilon=1e4, gradient_clip=clip
        )
        train(model, ContrastiveObjective(), replace(feed(cache), batch_size=64), recipe, report=lambda metrics: None)
        pairs = zip(model.parameters(), start.parameters(), strict=True)
        moves.append(torch.cat([(after - before).detach().double().flatten() for after, before in pairs]))
    # The clipped gradient has the length of the bound, and the direction of the whole one.
    assert moves[1].norm().item() == pytest.approx(1e-3 * 0.1, rel=1e-2)
    assert moves[0].norm() > 100 * moves[1].norm()
    assert torch.cosine_similarity(moves[0], moves[1], dim=0) > 0.99
