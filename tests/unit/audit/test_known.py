"""The triggers that an audit tries: they fit their images, and those of a file are refused where they do not."""

from pathlib import Path

import pytest
import torch

from bdray.audit.known import FOOLS_CLEAN, build_trigger, chosen, described, known
from bdray.exceptions import CheckpointError, ConfigError
from bdray.models import weights
from bdray.testing import learned


@pytest.mark.parametrize("size", [32, 224])
def test_every_known_trigger_fits_and_changes_images(size: int) -> None:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    for name, item in known(size).items():
        item.trigger.check(size)
        changed = item.trigger.apply(images, torch.arange(2))
        # It does something, within the range of pixels, and says what it is.
        assert not torch.equal(changed, images), name
        assert 0 <= changed.min() <= changed.max() <= 1
        assert item.note
        assert described(item).startswith(str(item.trigger.type))


def test_nothing_named_is_everything_known() -> None:
    assert [item.name for item in chosen([], 32)] == list(known(32))
    assert [item.name for item in chosen(["sig", "blended"], 224)] == ["sig", "blended"]
    assert {item.name for item in chosen([], 32) if item.fools_clean} == FOOLS_CLEAN


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["blendet"], "no such trigger for images of 32 px. Did you mean 'blended'"),
        (["sig", "sig"], "'sig' is given 2 times"),
        (["absent.yaml"], "there is no such file"),
    ],
)
def test_wrong_names_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(words, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine: {type: sig, delta: 2}", r"mine.yaml: mine.*delta"),
        ("mine: sig", "mine: must be a mapping of fields"),
        ("{}", "holds no trigger"),
        ("mine: {type: badnet, size: 99}", "a patch of 99 px does not fit an image of 32 px"),
        ("mine: {type: sig, state: x}", "a sig trigger learns nothing"),
        ("mine: {type: badclip, size: 6}", "a badclip trigger is learned, so name the file"),
    ],
)
def test_a_file_of_triggers_is_checked(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        chosen([str(tmp_path / "mine.yaml")], 32)


def test_a_learned_trigger_is_read_from_its_file(tmp_path: Path) -> None:
    fields = "type: badclip, size: 6, location: corner"
    ready = learned(build_trigger({"type": "badclip", "size": 6, "location": "corner"}, "test"))
    weights.save(ready.state, tmp_path / "trigger.safetensors")  # type: ignore[attr-defined]
    (tmp_path / "mine.yaml").write_text(f"mine: {{{fields}, state: trigger.safetensors}}", encoding="utf-8")
    (item,) = chosen([str(tmp_path / "mine.yaml")], 32)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    # The file is looked for beside the YAML, and what is put on images is what was learned.
    assert torch.equal(item.trigger.apply(images, torch.arange(2)), ready.apply(images, torch.arange(2)))


@pytest.mark.parametrize("tensors", [{"other": torch.zeros(3)}, {"patch": torch.zeros(3, 9, 9)}])
def test_a_state_of_something_else_is_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    weights.save(tensors, tmp_path / "state.safetensors")
    (tmp_path / "mine.yaml").write_text("mine: {type: badclip, size: 6, state: state.safetensors}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="the state of 'mine' is not what such a trigger learns"):
        chosen([str(tmp_path / "mine.yaml")], 32)
