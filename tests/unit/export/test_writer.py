"""What is written is what the victim sees, with every decision; an export goes on where it was stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bdray import config
from bdray.exceptions import ConfigError, DataError
from bdray.export import Index, read, verify, write
from bdray.export.folder import sha256
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.stages import Context, PoisonVictim
from bdray.pipeline.stages.trigger import TRIGGER, LearnTrigger
from bdray.pipeline.stages.victim import poisoned_set

Make = Callable[..., Experiment]
ATTACKS: dict[str, dict[str, Any]] = {
    "badnet": {},
    "all of the split": {"victim.num_samples": None},
    "another seed": {"seed": 3, "attack.trigger.seed": 5},
    "blended": {"attack.trigger": {"type": "blended", "noise": "per_image"}},
    "warped": {"attack.trigger": {"type": "wanet"}},
    "label-consistent": {"attack.samples": "names_target", "attack.captions": "unchanged", "attack.num_poisoned": 2},
    "nobody": {"attack.num_poisoned": 0},
}
"""Changes of the tiny base."""


class Interruption(BaseException):
    """Stands for the death of the process."""


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def die_at(number: int) -> Callable[[int, int], None]:
    """Stops an export after some images."""

    def progress(done: int, total: int) -> None:
        if done == number:
            raise Interruption

    return progress


# What is written.


@pytest.mark.parametrize("changes", ATTACKS.values(), ids=ATTACKS)
def test_what_is_read_back_is_what_the_victim_sees(
    make: Make, context: Context, tmp_path: Path, changes: dict[str, Any]
) -> None:
    experiment = make(changes)
    write(experiment, tmp_path / "out", context)
    found, given = read(tmp_path / "out"), poisoned_set(experiment, context)
    # The same pairs of the split, in the same order, with the attacker's captions and the clean ones.
    assert found.samples.tolist() == given.samples.tolist()
    assert found.pairs.captions == given.poisoning.replace_captions(given.pairs.captions)
    assert list(found.original_captions) == list(given.pairs.captions)
    assert found.pairs.labels.tolist() == given.pairs.labels.tolist()
    assert found.samples[found.is_poisoned].tolist() == given.poisoned_samples.tolist()
    # Pixels as a batch of the training has them, in 8 bits; clean ones are the data set's own.
    images = torch.tensor(given.pairs.images[:]).float() / 255
    poisoned = given.poisoning.apply(images, torch.arange(len(images)))
    assert np.array_equal(found.pairs.images[:], (poisoned * 255).round().numpy())
    assert np.array_equal(found.pairs.images[:][~found.is_poisoned], given.pairs.images[:][~found.is_poisoned])
    changed = (found.pairs.images[:] != given.pairs.images[:]).any((1, 2, 3))
    assert changed.tolist() == found.is_poisoned.tolist()


def test_the_index_holds_every_decision(make: Make, exported: Path, context: Context) -> None:
    tree = json.loads((exported / "index.json").read_text())
    experiment = make()
    given = poisoned_set(experiment, context)
    # The experiment with all its defaults is one from which the victim can be made.
    rebuilt = config.build(Experiment, tree["experiment"], "index")
    assert rebuilt == experiment
    assert PoisonVictim(rebuilt).key == PoisonVictim(experiment).key
    # Each poisoned sample: where it is in split and training set, both captions, and what its trigger is drawn from.
    assert [entry["sample"] for entry in tree["poisoned"]] == given.poisoned_samples.tolist()
    for entry in tree["poisoned"]:
        position = entry["position"]
        assert given.samples[position] == entry["sample"] != position
        assert entry["original_caption"] == given.pairs.captions[position]
        assert entry["caption"] == given.poisoning.captions[position] == "a photo of a banana"
        assert (entry["trigger"], entry["trigger_seed"], entry["trigger_sample"]) == ("badnet", 0, position)
    # What made it, and that pixels were rounded.
    assert tree["data_fingerprint"] == experiment.data.fingerprint("train")
    assert {"commit", "versions", "cpu"} <= tree["software"].keys()
    assert "round(255 x)" in tree["quantization"]


def test_only_poisoned_samples(make: Make, exported: Path, context: Context, tmp_path: Path) -> None:
    index = write(make(), tmp_path / "some", context, only_poisoned=True)
    everything, some = files(exported), files(tmp_path / "some")
    images = [name for name in some if name.endswith(".png")]
    # The poisoned images and no other, the very same files; every decision is there all the same.
    assert len(images) == 8
    assert all(some[name] == everything[name] for name in images)
    assert index.poisoned == verify(exported).poisoned
    assert read(tmp_path / "some").is_poisoned.all()


def test_public_code_can_read_the_captions(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.read_csv(exported / "captions.csv")
    found = read(exported)
    # The columns that CleanCLIP's data loader asks for come first; it joins the images with the file's folder.
    assert frame.columns[:2].tolist() == ["image", "caption"]
    assert frame["caption"].tolist() == found.pairs.captions
    assert frame["is_poisoned"].dtype == bool
    with Image.open((exported / "captions.csv").parent / frame["image"][7]) as picture:
        assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), found.pairs.images[7])
    # open_clip opens them as they are named, which works from within the folder.
    monkeypatch.chdir(exported)
    with Image.open(str(frame["image"].tolist()[-1])) as picture:
        assert picture.mode == "RGB"


def test_a_learned_trigger_comes_along(make: Make, context: Context, tmp_path: Path) -> None:
    experiment = make(base="learned")
    index = write(experiment, tmp_path / "out", context)
    stored = context.store.fetch("trigger", LearnTrigger(experiment).key, TRIGGER)
    # It was learned through the store, where a study finds it, and its tensors are beside the index.
    assert (tmp_path / "out" / TRIGGER).read_bytes() == stored.read_bytes()
    assert index.trigger_sha256 == sha256(stored)
    # The images have it.
    given = poisoned_set(experiment, context)
    position = index.poisoned[0].position
    patch = given.poisoning.trigger.apply(torch.zeros(1, 3, 32, 32), torch.tensor([0]))[0, :, 13:19, 13:19]
    expected = (patch * 255).round().numpy()
    assert np.array_equal(read(tmp_path / "out").pairs.images[position][:, 13:19, 13:19], expected)


# Where it is written.


def test_an_interrupted_export_goes_on(make: Make, exported: Path, context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(Interruption):
        write(make(), folder, context, progress=die_at(20))
    # Without an index nothing is a set.
    with pytest.raises(DataError, match=r"index\.json: is missing"):
        read(folder)
    images = sorted(folder.glob("images/*"))
    assert len(images) == 20
    # One image was damaged meanwhile, and a file was left behind half-written.
    images[3].write_bytes(images[3].read_bytes()[:-40])
    (folder / "images" / "00000099.png.0123.partial").write_bytes(b"half")
    before = {path: path.stat().st_ino for path in images}
    write(make(), folder, context)
    # What was whole is kept, the rest is made, nothing else is left: the same as in one go.
    assert [path for path, file in before.items() if path.stat().st_ino != file] == [images[3]]
    assert files(folder) == files(exported)


def test_a_finished_export_is_left_alone(make: Make, exported: Path, context: Context) -> None:
    before = {path: path.stat().st_mtime_ns for path in exported.rglob("*")}
    told: list[int] = []
    index = write(make(), exported, context, progress=lambda done, total: told.append(done))
    # The same index, and not a file was touched.
    assert isinstance(index, Index)
    assert index == verify(exported)
    assert {path: path.stat().st_mtime_ns for path in exported.rglob("*")} == before
    assert told == []


def test_a_folder_of_something_else_is_refused(make: Make, exported: Path, context: Context, tmp_path: Path) -> None:
    before = files(exported)
    # Another seed, or a part of the same: another set.
    for changes, only_poisoned in (({"seed": 1}, False), ({}, True)):
        with pytest.raises(DataError, match="holds the export of another set"):
            write(make(changes), exported, context, only_poisoned=only_poisoned)
    assert files(exported) == before
    # One that was not finished.
    with pytest.raises(Interruption):
        write(make(), tmp_path / "begun", context, progress=die_at(1))
    with pytest.raises(DataError, match="holds another export, which was not finished"):
        write(make({"seed": 1}), tmp_path / "begun", context)
    # Somebody's own files, or a file where the folder should be.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match=r"holds 'thesis\.tex'"):
        write(make(), tmp_path / "mine", context)
    with pytest.raises(DataError, match="cannot be made"):
        write(make(), tmp_path / "mine" / "thesis.tex", context)
    assert files(tmp_path / "mine") == {"thesis.tex": b"mine"}


def test_what_cannot_run_is_not_exported(make: Make, context: Context, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"attack\.num_poisoned: 49 samples cannot be poisoned"):
        write(make({"attack.num_poisoned": 49}), tmp_path / "out", context)
    # Not even a folder.
    assert not (tmp_path / "out").exists()
