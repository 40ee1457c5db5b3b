"""The index alone gives the same bytes again, and whatever it says wrongly is found, with the sample."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bdray.data import scenes
from bdray.exceptions import ConfigError, DataError
from bdray.export import reproduce, write
from bdray.export.folder import sha256
from bdray.models import weights
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context
from bdray.pipeline.stages.trigger import TRIGGER, LearnTrigger
from bdray.pipeline.store import Store

Make = Callable[..., Experiment]


class Interruption(BaseException):
    """Stands for the death of the process."""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Context:
    """Another machine: neither data nor results."""
    return Context(Store(str(tmp_path / "elsewhere" / "store"), tmp_path / "cache"), tmp_path / "elsewhere" / "cache")


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def index_alone(exported: Path, folder: Path) -> Path:
    """A copy of nothing but the index."""
    folder.mkdir()
    return Path(shutil.copy(exported / "index.json", folder))


def changed(source: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the tree of an index."""
    tree = json.loads(source.read_text())
    change(tree)
    source.write_text(json.dumps(tree))
    return source


@pytest.mark.parametrize("only_poisoned", [False, True])
def test_the_index_alone_gives_the_same_bytes(
    make: Make, context: Context, elsewhere: Context, tmp_path: Path, only_poisoned: bool
) -> None:
    write(make({"seed": 2}), tmp_path / "exported", context, only_poisoned=only_poisoned)
    index = index_alone(tmp_path / "exported", tmp_path / "sent")
    reproduce(index, tmp_path / "again", elsewhere)
    # Data and decisions are made anew; every image, the captions and the index are the same, byte by byte.
    assert files(tmp_path / "again") == files(tmp_path / "exported")


def test_it_goes_on_where_it_was_stopped(exported: Path, elsewhere: Context, tmp_path: Path) -> None:
    def die(done: int, total: int) -> None:
        if done == 10:
            raise Interruption

    with pytest.raises(Interruption):
        reproduce(exported, tmp_path / "again", elsewhere, progress=die)
    assert not (tmp_path / "again" / "index.json").exists()
    reproduce(exported, tmp_path / "again", elsewhere)
    assert files(tmp_path / "again") == files(exported)
    # Once more, it checks what is there.
    reproduce(exported, tmp_path / "again", elsewhere)
    (tmp_path / "again" / "images" / "00000000.png").unlink()
    with pytest.raises(DataError, match=r"00000000\.png: is missing"):
        reproduce(exported, tmp_path / "again", elsewhere)


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a caption": (
        lambda tree: tree["poisoned"][1].update(caption="a photo of a boat"),
        r"sample {1}: the index says .*a photo of a boat.*experiment and seed say .*a photo of a banana",
    ),
    "an original caption": (lambda tree: tree["poisoned"][2].update(original_caption="no"), r"sample {2}: .*'no'"),
    "where a trigger's randomness is from": (
        lambda tree: tree["poisoned"][0].update(trigger_sample=0),
        r"sample {0}: .*trigger_sample=0",
    ),
    "a poison less": (lambda tree: tree["poisoned"].pop(3), r"sample {3}: the index says that it is clean"),
    "the hash of a poisoned image": (
        lambda tree: tree["images"].update({f"images/{tree['poisoned'][4]['sample']:08d}.png": "0" * 64}),
        r"sample {4}: images/\d+\.png has another hash.*Differences in software: none",
    ),
    "the hash of a clean image": (
        lambda tree: tree["images"].update({"images/00000000.png": "0" * 64}),
        r"sample 0: images/00000000\.png has another hash",
    ),
    "the hash of the captions": (lambda tree: tree.update(captions_sha256="0" * 64), r"captions\.csv has another hash"),
    "the seed": (lambda tree: tree["experiment"].update(seed=1), r"seed is '0' in the index, and '1' here"),
    "both seeds": (
        lambda tree: (tree["experiment"].update(seed=1), tree.update(seed=1)),
        r"sample \d+: the index says",
    ),
    "the data": (
        lambda tree: tree["experiment"]["data"].update(seed=1),
        r"data_fingerprint is '[0-9a-f]+' in the index, and '[0-9a-f]+' here",
    ),
    "the trigger": (
        lambda tree: tree["experiment"]["attack"]["trigger"].update(size=5),
        r"trigger is .*'size': 6.* in the index, and .*'size': 5.* here",
    ),
    "the size of the training set": (
        lambda tree: tree["experiment"]["victim"].update(num_samples=47),
        r"sample \d+: ",
    ),
    "a learned trigger": (lambda tree: tree.update(trigger_sha256="0" * 64), r"trigger_sha256: must be there if and"),
}


@pytest.mark.parametrize("name", LIES)
def test_what_the_index_says_wrongly_is_found(exported: Path, elsewhere: Context, tmp_path: Path, name: str) -> None:
    lie, message = LIES[name]
    poisoned = [entry["sample"] for entry in json.loads((exported / "index.json").read_text())["poisoned"]]
    index = changed(index_alone(exported, tmp_path / "sent"), lie)
    numbered = re.sub(r"\{(\d)\}", lambda found: str(poisoned[int(found[1])]), message)
    with pytest.raises(DataError, match=numbered) as caught:
        reproduce(index, tmp_path / "again", elsewhere)
    assert str(caught.value).startswith(f"{index}: ")
    # No index is written, so nobody takes for a set what is none.
    assert not (tmp_path / "again" / "index.json").exists()


def test_the_difference_in_software_is_named(exported: Path, elsewhere: Context, tmp_path: Path) -> None:
    index = index_alone(exported, tmp_path / "sent")
    changed(
        index,
        lambda tree: (tree["images"].update({"images/00000000.png": "0" * 64}), tree["software"].update(cpu="Z80")),
    )
    # Another CPU may round a last bit in another way: that is the first thing to look at.
    with pytest.raises(DataError, match="Differences in software: cpu 'Z80' there, '"):
        reproduce(index, tmp_path / "again", elsewhere)


def test_another_version_of_the_data_set_is_told(
    exported: Path, elsewhere: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "VERSION", scenes.VERSION + 1)
    with pytest.raises(DataError, match="data_fingerprint is"):
        reproduce(exported, tmp_path / "again", elsewhere)
    # Before anything was prepared.
    assert not elsewhere.cache.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["experiment"]["attack"].update(target="boat"), r"attack\.target: no class is named 'boat'"),
        (lambda tree: tree["experiment"]["attack"].update(num_poisoned=49), "49 samples cannot be poisoned"),
        (lambda tree: tree["experiment"]["victim"].update(num_samples=65), "65 were asked for, but .* has 64"),
        (lambda tree: tree["experiment"]["victim"].update(num_samples="all"), r"index\.json: experiment: victim\.num_"),
        (lambda tree: tree["experiment"]["attack"]["trigger"].update(type="bomb"), "unknown type 'bomb'"),
        (lambda tree: tree["experiment"]["attack"]["trigger"].update(size=99), "a patch of 99 px does not fit"),
        (
            lambda tree: tree["experiment"]["attack"].update(
                trigger={"type": "blended", "noise": "image", "image": "/dev/none.png"}
            ),
            "there is no file '/dev/none.png'",
        ),
        (lambda tree: tree.update(experiment={}), r"experiment: data: is required"),
    ],
)
def test_an_experiment_that_cannot_be_is_refused(
    exported: Path, elsewhere: Context, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        reproduce(changed(exported / "index.json", change), tmp_path / "again", elsewhere)
    # Nothing was written.
    assert not (tmp_path / "again").exists()


def test_the_folder_of_the_index_is_refused(exported: Path, elsewhere: Context, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(exported)
    for folder in (exported, exported / "images" / "..", tmp_path / "link"):
        # It would prove nothing: what is there is there already.
        with pytest.raises(DataError, match="holds the index itself"):
            reproduce(exported / "index.json", folder, elsewhere)
    with pytest.raises(DataError, match=r"none/index\.json: is missing"):
        reproduce(tmp_path / "none" / "index.json", tmp_path / "again", elsewhere)


# Learned triggers.


@pytest.fixture
def learned(make: Make, context: Context, tmp_path: Path) -> Path:
    """An exported set with a trigger that was learned."""
    write(make(base="learned"), tmp_path / "learned", context)
    return tmp_path / "learned"


def test_a_learned_trigger_is_taken_from_beside_the_index_or_learned_again(
    learned: Path, elsewhere: Context, tmp_path: Path
) -> None:
    index = index_alone(learned, tmp_path / "sent")
    shutil.copy(learned / TRIGGER, tmp_path / "sent" / TRIGGER)
    told: list[str] = []
    told_elsewhere = replace(elsewhere, report=lambda stage, metrics: told.append(stage))
    reproduce(index, tmp_path / "with", told_elsewhere)
    # With the file beside the index nothing is learned.
    assert told == []
    (tmp_path / "sent" / TRIGGER).unlink()
    reproduce(index, tmp_path / "without", told_elsewhere)
    # Without it the clean model and the trigger are made again, and all bytes are the same.
    assert told == ["pretrain", "trigger"]
    assert files(tmp_path / "with") == files(tmp_path / "without") == files(learned)


def test_another_trigger_is_refused(learned: Path, elsewhere: Context, make: Make, tmp_path: Path) -> None:
    index = index_alone(learned, tmp_path / "sent")
    beside = tmp_path / "sent" / TRIGGER
    tensors = weights.load(learned / TRIGGER)
    # Other values; and a file that the index was made to agree with, but that holds no such trigger.
    weights.save({"patch": tensors["patch"] * 0.5}, beside)
    with pytest.raises(DataError, match=r"trigger\.safetensors: was changed"):
        reproduce(index, tmp_path / "again", elsewhere)
    for wrong in ({"other": tensors["patch"]}, {"patch": tensors["patch"][:, :2]}):
        weights.save(wrong, beside)
        changed(index, lambda tree: tree.update(trigger_sha256=sha256(beside)))
        with pytest.raises(DataError, match=r"trigger\.safetensors: does not fit a trigger of type badclip"):
            reproduce(index, tmp_path / "again", elsewhere)
    beside.unlink()
    # One that is learned here, in a store where another result has taken its place.
    stage = LearnTrigger(make(base="learned"))
    weights.save({"patch": tensors["patch"] * 0.5}, tmp_path / TRIGGER)
    elsewhere.store.save("trigger", stage.key, {}, {TRIGGER: tmp_path / TRIGGER})
    with pytest.raises(DataError, match=r"the trigger that was learned here is another one\. Put trigger\.safetensors"):
        reproduce(index, tmp_path / "again", elsewhere)
