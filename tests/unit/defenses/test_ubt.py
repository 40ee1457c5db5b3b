"""UBT: its phases one by one, what they are trained on, what is reported of the detection, and attacks of any kind."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import torch.distributed
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from bdray.attacks.attack import Attack
from bdray.attacks.poisoned_set import PoisonedSet
from bdray.attacks.poisoning import Poisoning
from bdray.attacks.triggers.blended import Blended
from bdray.checkpoint import History
from bdray.config import build
from bdray.data.base import Pairs
from bdray.defenses.base import DefenderData, Sizes
from bdray.defenses.ubt import UBT
from bdray.evaluation.detection import SIMILARITIES, similarities
from bdray.evaluation.two_stage import TwoStageDetection
from bdray.exceptions import ConfigError
from bdray.objective import Objective
from bdray.testing import Tower, tiny_model, tiny_recipe, tiny_scenes, tiny_tokenizer
from bdray.training.batch_norm import synchronize
from bdray.training.session import Session
from bdray.training.unlearning import stored_images

SUSPICIOUS, DETECTED = 16, 8
ATTACKS = {
    "proxy": Attack(trigger=Blended(), num_poisoned=8),
    "label-consistent": Attack(trigger=Blended(), num_poisoned=3, samples="names_target", captions="unchanged"),
    "natural captions": Attack(trigger=Blended(), num_poisoned=8, captions="natural"),
    "no poison": Attack(trigger=Blended(), num_poisoned=0),
    "all poisoned": Attack(trigger=Blended(), poison_ratio=1.0),
}


class Interruption(BaseException):
    """Stands for the death of the process."""


@dataclasses.dataclass(frozen=True)
class Watched(Session):
    """A session that remembers what it was asked to train on."""

    phases: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def train(self, model: open_clip.CLIP, objective: Objective, *data: Any, **options: Any) -> History:
        recipe, images, captions = data
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self.phases[options["phase"]] = {
            "before": before,
            "objective": objective,
            "recipe": recipe,
            "images": images,
            "captions": captions,
            "poisoning": options.get("poisoning"),
        }
        history = super().train(model, objective, *data, **options)
        self.phases[options["phase"]]["after"] = {name: value.clone() for name, value in model.state_dict().items()}
        return history


def clean_model(tower: Tower = "resnet") -> open_clip.CLIP:
    return tiny_model(tower, seed=1).eval().requires_grad_(False)


def attacked(pairs: Pairs, attack: Attack) -> DefenderData:
    """Pairs at other places in the train split than in the set."""
    poisoning = attack.poison(pairs.captions, seed=0)
    given = PoisonedSet(pairs, poisoning, np.arange(1000, 1000 + len(pairs)))
    return DefenderData(poisoned=given, clean_model=clean_model)


@pytest.fixture(scope="module")
def pairs(cache: Path) -> Pairs:
    return tiny_scenes().load("train", cache)


@pytest.fixture(scope="module")
def data(pairs: Pairs) -> DefenderData:
    return attacked(pairs, ATTACKS["proxy"])


def defense(**fields: Any) -> UBT:
    recipe = tiny_recipe()
    chosen: dict[str, Any] = {"suspicious_share": SUSPICIOUS / 64, "num_detected": DETECTED, "overfit_recipe": recipe}
    return UBT(**(chosen | {"recipe": recipe} | fields))


def session(folder: Path | None = None, **fields: Any) -> Watched:
    evaluate = fields.pop("evaluate", lambda *judged: {"clean_accuracy_top1": 0.5})
    return Watched(tokenizer=tiny_tokenizer(), seed=0, folder=folder, evaluate=evaluate, **fields)


def given_of(data: DefenderData) -> tuple[PoisonedSet, Tensor]:
    """The poisoned set and its tokens."""
    given = data.poisoned
    assert given is not None
    return given, tiny_tokenizer()(given.poisoning.replace_captions(given.pairs.captions))


def without_time(history: History) -> History:
    return [{name: value for name, value in entry.items() if name != "train_seconds"} for entry in history]


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_phases_follow_the_paper(data: DefenderData, tmp_path: Path) -> None:
    model, watched, (given, tokens) = tiny_model(), session(tmp_path), given_of(data)
    victim = {name: value.clone() for name, value in model.state_dict().items()}
    history = defense().run(model, data, watched)
    overfit, unlearn = watched.phases["overfit"], watched.phases["unlearn"]
    clean = similarities(clean_model(), given, tokens)
    suspicious = np.argsort(clean)[:SUSPICIOUS]
    # Equation 1 on all pairs as the victim saw them: what fits least under the clean model is suspicious.
    assert overfit["images"] is given.pairs.images
    assert overfit["captions"] is given.pairs.captions
    assert overfit["poisoning"] is given.poisoning
    marked = overfit["objective"].is_marked
    assert sorted(suspicious.tolist()) == torch.nonzero(marked).flatten().tolist()
    # Equation 2: a copy is overfitted, and says which of the suspicious pairs are detected.
    overfitted = tiny_model()
    overfitted.load_state_dict(overfit["after"])
    found = similarities(overfitted, given, tokens)
    detected = suspicious[np.argsort(-found[suspicious])[:DETECTED]]
    table = pd.read_csv(tmp_path / SIMILARITIES)
    assert sorted(table.index[table["is_detected"]]) == sorted(detected)
    # Equation 3 on the victim itself, with nothing of the copy in it.
    assert equal(overfit["before"], victim)
    assert equal(unlearn["before"], victim)
    assert equal(unlearn["after"], dict(model.state_dict()))
    # On the product of detected images and reduced captions, all of which are unlearned.
    assert unlearn["objective"].is_marked.all()
    assert unlearn["objective"].clip_weight == 0
    assert len(unlearn["images"]) == len(unlearn["captions"]) == DETECTED**2
    assert (unlearn["images"][::DETECTED] == stored_images(given, detected)).all()
    assert (unlearn["captions"] > 0).sum() < (tokens[torch.from_numpy(detected)] > 0).sum() * DETECTED
    # Each phase logs its own terms, and epochs are counted on.
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    assert ["overfit_loss" in entry for entry in history] == [True, True, False, False]
    assert ["unlearning_loss" in entry for entry in history] == [False, False, True, True]
    assert defense().epochs == 4


def test_the_detection_is_written_down(data: DefenderData, tmp_path: Path) -> None:
    model, watched, (given, tokens) = tiny_model(), session(tmp_path), given_of(data)
    history = defense().run(model, data, watched)
    overfitted = tiny_model()
    overfitted.load_state_dict(watched.phases["overfit"]["after"])
    clean, victim, scores = (similarities(judge, given, tokens) for judge in (clean_model(), tiny_model(), overfitted))
    expected = TwoStageDetection(clean, victim, scores, SUSPICIOUS, DETECTED)
    table = pd.read_csv(tmp_path / SIMILARITIES)
    # Everything about every pair, for a figure.
    assert table["sample"].tolist() == given.samples.tolist()
    for name, column in expected.columns.items():
        np.testing.assert_allclose(table[name], column, rtol=1e-4)
    # The numbers stand with every epoch that comes after it, so with the last one.
    metrics = expected.metrics(given)
    assert {"detection_precision", "detection_recall", "detection_auroc"} <= set(metrics)
    for entry in history[:2]:
        assert not any(name.startswith("detection") for name in entry)
    for entry in history[2:]:
        assert {name: value for name, value in entry.items() if name.startswith("detection")} == pytest.approx(metrics)
        assert entry["clean_accuracy_top1"] == 0.5


def test_a_part_of_d_safe_serves_both_phases(data: DefenderData) -> None:
    watched, (given, tokens) = session(), given_of(data)
    defense(num_safe=20, safe_weight=0.5, max_pairs=24).run(tiny_model(), data, watched)
    overfit, unlearn = watched.phases["overfit"], watched.phases["unlearn"]
    everything = [image.tobytes() for image in stored_images(given, np.arange(64))]
    suspicious = set(np.argsort(similarities(clean_model(), given, tokens))[:SUSPICIOUS].tolist())
    chosen = [everything.index(image.tobytes()) for image in overfit["images"]]
    # Images with their triggers and captions of D_susp and of twenty others, the former marked.
    assert suspicious < set(chosen)
    assert len(chosen) == len(set(chosen)) == SUSPICIOUS + 20
    assert overfit["objective"].is_marked.tolist() == [index in suspicious for index in chosen]
    assert torch.equal(overfit["captions"], tokens[chosen])
    assert overfit["poisoning"] is None
    # The same twenty are kept while the drawn pairs are unlearned.
    safe = [index for index in chosen if index not in suspicious]
    assert unlearn["objective"].is_marked.tolist() == [True] * 24 + [False] * 20
    assert unlearn["objective"].clip_weight == 0.5
    assert [everything.index(image.tobytes()) for image in unlearn["images"][24:]] == safe
    assert torch.equal(unlearn["captions"][24:], tokens[safe])


def test_without_the_token_level_pairs_are_unlearned_as_they_are(data: DefenderData, tmp_path: Path) -> None:
    watched, (given, tokens) = session(tmp_path), given_of(data)
    recipe = tiny_recipe(batch_size=8)
    defense(token_level=False, recipe=recipe).run(tiny_model(), data, watched)
    table, unlearn = pd.read_csv(tmp_path / SIMILARITIES), watched.phases["unlearn"]
    ranked = table[table["is_detected"]].sort_values("overfitted_similarity", ascending=False)
    detected = np.array(ranked.index)
    # The paper's ablation: D_topk, image by image with its own caption.
    assert (unlearn["images"] == stored_images(given, detected)).all()
    assert torch.equal(unlearn["captions"], tokens[torch.from_numpy(detected)])


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({}, 0.5 - 0.9),
        ({"objective": "floor", "floor": 0.25}, 0.5 + 0.25),
        ({"objective": "squared"}, 0.5**2 + 0.9**2),
    ],
    ids=["paper", "floor", "squared"],
)
def test_objectives_by_name(fields: dict[str, Any], value: float, data: DefenderData) -> None:
    watched = session()
    defense(**fields, recipe=tiny_recipe(epochs=1)).run(tiny_model("vit"), data, watched)
    images, texts = torch.eye(2), torch.tensor([[0.5, 0.1], [0.0, -0.9]])
    # Of two pairs with similarities 0.5 and -0.9.
    assert watched.phases["unlearn"]["objective"].loss(images, texts).item() == pytest.approx(value / 2)
    # Overfitting is the same for all: (s - 1)^2.
    loss = watched.phases["overfit"]["objective"].loss(images, texts).item()
    assert loss == pytest.approx((0.5**2 + 1.9**2) / 2)
    assert watched.phases["overfit"]["objective"].clip_weight == 1


@pytest.mark.parametrize("unlearned", ["victim", "overfitted"])
def test_which_model_unlearns(unlearned: str, data: DefenderData) -> None:
    model, watched = tiny_model(), session()
    defense(unlearned=unlearned, recipe=tiny_recipe(epochs=0)).run(model, data, watched)
    overfitted = watched.phases["overfit"]["after"]
    # With no epoch of unlearning it comes out as it went in, running statistics included.
    assert not equal(overfitted, dict(tiny_model().state_dict()))
    assert equal(dict(model.state_dict()), overfitted if unlearned == "overfitted" else dict(tiny_model().state_dict()))


def test_what_is_unlearned_becomes_less_similar(data: DefenderData, tmp_path: Path) -> None:
    model, (given, tokens) = tiny_model(), given_of(data)
    recipe = tiny_recipe(epochs=4)
    history = defense(recipe=recipe, kept_share=1.0).run(model, data, session(tmp_path))
    table = pd.read_csv(tmp_path / SIMILARITIES)
    change = similarities(model, given, tokens) - table["victim_similarity"].to_numpy()
    # Equation 3 does what it says, epoch by epoch.
    losses = [entry["unlearning_loss"] for entry in history if "unlearning_loss" in entry]
    assert losses == sorted(losses, reverse=True)
    assert (change[table["is_detected"]] < -0.1).all()
    # And equation 1 did the opposite to what was suspected.
    raised = (table["overfitted_similarity"] - table["victim_similarity"])[table["is_suspicious"]]
    assert raised.mean() > 0.05


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("fields", [{}, {"num_safe": 0, "safe_weight": 1.0}, {"suspicious_share": 1.0}])
def test_every_attack_can_be_defended_against(
    attack: Attack, fields: dict[str, Any], pairs: Pairs, tmp_path: Path
) -> None:
    model, fields = (
        tiny_model("vit"),
        {"overfit_recipe": tiny_recipe(epochs=1), "recipe": tiny_recipe(epochs=1)} | fields,
    )
    history = defense(**fields).run(model, attacked(pairs, attack), session(tmp_path))
    # However many poisons there are, of whatever kind, and with an empty D_safe: it ends with finite weights.
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert all(np.isfinite(list(entry.values())).all() for entry in history)
    # A rate of no pairs is no number and is left out.
    has_poison, has_clean = attack.count(64) > 0, attack.count(64) < 64
    assert ("detection_recall" in history[-1]) == has_poison
    assert ("detection_auroc" in history[-1]) == (has_poison and has_clean)
    assert len(pd.read_csv(tmp_path / SIMILARITIES)) == 64


@pytest.mark.parametrize("caption", ["", "12 + !", "香蕉 🍌", "a " * 40])
def test_captions_of_any_kind(caption: str, pairs: Pairs) -> None:
    model, recipe = tiny_model("vit"), tiny_recipe(epochs=1)
    odd = Pairs(pairs.images, [caption] * 64, pairs.labels)
    poisoning = Poisoning(trigger=Blended(), captions=dict.fromkeys(range(8), caption))
    data = DefenderData(poisoned=PoisonedSet(odd, poisoning, np.arange(64)), clean_model=clean_model)
    history = defense(recipe=recipe, overfit_recipe=recipe).run(model, data, session())
    # Nothing to reduce, no letters, another script, longer than the context.
    assert all(np.isfinite(list(entry.values())).all() for entry in history)


def test_interrupted_while_unlearning_it_goes_on_exactly(data: DefenderData, tmp_path: Path) -> None:
    straight, continued = tiny_model(), tiny_model()
    expected = defense().run(straight, data, session())

    def die(metrics: Mapping[str, float]) -> None:
        if metrics["epoch"] == 3:
            raise Interruption

    with pytest.raises(Interruption):
        defense().run(tiny_model(), data, session(workspace=tmp_path, report=die))
    watched = session(tmp_path, workspace=tmp_path)
    history = defense().run(continued, data, watched)
    # The overfitted model is read from its own checkpoint, and detects the same pairs again.
    assert equal(dict(straight.state_dict()), dict(continued.state_dict()))
    assert without_time(history) == without_time(expected)
    assert (tmp_path / SIMILARITIES).exists()


def refusal(num_trained: int = 1000, **fields: Any) -> str:
    """What is said about a value that does not fit 1000 pairs, 20 of them suspicious."""
    with pytest.raises(ConfigError) as error:
        UBT(**({"num_detected": 20} | fields)).check(Sizes(trained=num_trained))
    return str(error.value)


def test_sizes_that_do_not_fit_are_refused_with_numbers() -> None:
    recipe = tiny_recipe(batch_size=64)
    UBT(num_detected=20).check(Sizes(trained=1000))
    assert refusal(num_detected=21) == (
        "defense.num_detected: 21 pairs cannot be detected among 20 suspicious ones (2.00% of 1000). Lower it, or "
        "raise suspicious_share."
    )
    UBT(num_detected=20, num_safe=980).check(Sizes(trained=1000))
    assert refusal(num_safe=981) == (
        "defense.num_safe: 981 pairs were asked for, but beside 20 suspicious ones (2.00% of 1000) there are 980. "
        "Lower it, or give null for all."
    )
    # A term that weighs pairs of which there are none would do nothing.
    assert refusal(safe_weight=1, num_safe=0).startswith(
        "defense.safe_weight: 1 weighs L_CLIP of safe pairs, but beside"
    )
    assert refusal(safe_weight=1, suspicious_share=1).endswith("raise num_safe, or lower suspicious_share.")
    # A phase of less than a batch would train nothing. 20 suspicious pairs and 44 others are 64.
    UBT(num_detected=20, num_safe=44, overfit_recipe=recipe).check(Sizes(trained=1000))
    assert refusal(num_safe=43, overfit_recipe=recipe).startswith("defense.overfit_recipe.batch_size: a batch of 64")
    # Eight by eight pairs are 64; seven by seven with 15 others are, too.
    UBT(num_detected=8, recipe=recipe).check(Sizes(trained=1000))
    assert refusal(num_detected=7, recipe=recipe).startswith(
        "defense.recipe.batch_size: a batch of 64 cannot be drawn from"
    )
    UBT(num_detected=7, num_safe=44, safe_weight=1, recipe=recipe).check(Sizes(trained=1000))
    assert "from the 63 pairs" in refusal(max_pairs=63, recipe=recipe)
    assert "from the 20 pairs" in refusal(token_level=False, recipe=recipe)


def test_a_floor_that_would_do_nothing_is_refused() -> None:
    tree = {"type": "ubt"}
    with pytest.raises(ConfigError, match=r"objective=paper with floor=0\.1: give floor with objective=floor only"):
        build(UBT, tree | {"floor": 0.1}, "x")
    with pytest.raises(ConfigError, match="objective=floor with floor=None: give floor with objective=floor only"):
        build(UBT, tree | {"objective": "floor"}, "x")
    assert build(UBT, tree | {"objective": "floor", "floor": 0.0}, "x").floor == 0


def test_the_defaults_are_the_papers() -> None:
    chosen = UBT()
    # Section 4: 5 epochs, batch 64, 1e-6; then 3 epochs, batch 64, 1e-5; equation 3 as printed.
    assert (chosen.overfit_recipe.epochs, chosen.overfit_recipe.batch_size) == (5, 64)
    assert (chosen.recipe.epochs, chosen.recipe.batch_size) == (3, 64)
    assert (chosen.overfit_recipe.learning_rate, chosen.recipe.learning_rate) == (1e-6, 1e-5)
    # It names no warm-up, which would take all of the three steps that there are without the token level.
    assert (chosen.overfit_recipe.warmup_steps, chosen.recipe.warmup_steps) == (0, 0)
    assert (chosen.objective, chosen.safe_weight, chosen.token_level) == ("paper", 0, True)
    # With 500,000 pairs it fits, and so it does with the built-in 5,000.
    chosen.check(Sizes(trained=500_000))
    chosen.check(Sizes(trained=5000))


def test_its_cost_is_what_the_phases_pass() -> None:
    # 1000 scored, 5 epochs of 1000, 3 of 8 x 8 pairs.
    assert UBT(num_detected=8).images(Sizes(trained=1000)) == 1000 + 5000 + 3 * 64
    # 5 of 20 suspicious and 100 others, 3 of 30 pairs and these others.
    assert (
        UBT(num_detected=8, num_safe=100, safe_weight=1, max_pairs=30).images(Sizes(trained=1000))
        == 1000 + 5 * 120 + 3 * 130
    )
    assert UBT(num_detected=8, token_level=False).images(Sizes(trained=1000)) == 1000 + 5000 + 3 * 8


def repaired(cache: Path, folder: Path, world_size: int = 1) -> dict[str, Tensor]:
    """Weights after a run on poisoned scenes."""
    model = tiny_model("resnet")
    if world_size > 1:
        synchronize(model)
    data = attacked(tiny_scenes().load("train", cache), ATTACKS["proxy"])
    recipe = tiny_recipe(epochs=1, learning_rate=1e-4)
    chosen = defense(overfit_recipe=recipe, recipe=recipe, num_safe=32, safe_weight=1.0)
    folder.mkdir()
    chosen.run(model, data, Session(tokenizer=tiny_tokenizer(), seed=0, folder=folder))
    return dict(model.state_dict())


def work(rank: int, folder: Path, cache: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    weights = repaired(cache, folder / f"files-{rank}", world_size=2)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / f"weights-{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_do_what_one_does(tmp_path: Path, cache: Path) -> None:
    expected = repaired(cache, tmp_path / "files")
    table = pd.read_csv(tmp_path / "files" / SIMILARITIES)
    spawn(work, args=(tmp_path, cache), nprocs=2)
    for rank in range(2):
        found = pd.read_csv(tmp_path / f"files-{rank}" / SIMILARITIES)
        # Both score all pairs alike, so they agree with each other and with one worker on who is detected.
        for name in ("sample", "is_suspicious", "is_detected", "clean_similarity", "victim_similarity"):
            assert found[name].tolist() == table[name].tolist()
        np.testing.assert_allclose(found["overfitted_similarity"], table["overfitted_similarity"], atol=1e-3)
        # In float32 gradients differ in their last bits, which AdamW's first steps blow up where a gradient is next to
        # nothing: far less than what the training changed.
        weights = load_file(tmp_path / f"weights-{rank}")
        victim = tiny_model("resnet").state_dict()
        moved = [distance(expected[name], victim[name]) for name in victim]
        apart = [distance(expected[name], weights[name]) for name in victim]
        assert sum(apart) < 0.01 * sum(moved)


def distance(first: Tensor, second: Tensor) -> float:
    return (first - second).double().abs().sum().item()
