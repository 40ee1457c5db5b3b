"""open_clip's tags: its cache is used, and a machine without a network says what is missing and what to do."""

from pathlib import Path

import pytest

from bdray.exceptions import CheckpointError
from bdray.models.clip import Model

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, on a machine without a network."""
    from huggingface_hub import constants, file_download

    for module in (constants, file_download):
        for name, value in (("HF_HUB_CACHE", str(tmp_path)), ("HF_HUB_OFFLINE", True)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    return tmp_path


def test_what_was_downloaded_is_found(offline: Path) -> None:
    entry = offline / "models--timm--resnet50_clip.openai"
    path = entry / "snapshots" / REVISION / "open_clip_model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(REVISION)
    # By open_clip's own code, from where open_clip puts it.
    found = Model(architecture="RN50-quickgelu", pretrained="openai").first_weights()
    assert found is not None
    assert found.read_bytes() == b"weights"


def test_without_a_network_the_error_says_what_to_do(offline: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        Model(architecture="RN50-quickgelu", pretrained="openai").first_weights()
    # One sentence each: which weights, where they were looked for, how to get them, and the other way.
    for part in (
        "model.pretrained: the weights 'openai' of 'RN50-quickgelu' are not in",
        str(offline),
        "cannot be downloaded",
        "open_clip.create_model('RN50-quickgelu', 'openai')",
        "model.weights",
    ):
        assert part in str(error.value)
