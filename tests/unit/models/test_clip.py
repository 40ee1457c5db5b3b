"""Which CLIP: names, first weights from a seed, and hashes of files."""

import hashlib
import re
from pathlib import Path

import pytest
import torch

from bdray.exceptions import ConfigError
from bdray.models.clip import PIXEL_MEAN, PIXEL_STD, Model, normalize


def test_first_weights_are_a_function_of_the_seed() -> None:
    model = Model(architecture="scenes-rn8")
    torch.manual_seed(3)
    first = model.build(seed=0).state_dict()
    torch.manual_seed(4)
    again, other = model.build(seed=0).state_dict(), model.build(seed=1).state_dict()
    # Same seed, same weights, whatever the global generator is at; another seed, other weights.
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["visual.conv1.weight"], other["visual.conv1.weight"])
    assert not torch.equal(first["token_embedding.weight"], other["token_embedding.weight"])
    # The temperature starts at CLIP's 0.07.
    assert first["logit_scale"].exp().item() == pytest.approx(1 / 0.07)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Model(architecture="scenes-rn8").build(seed=5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("scenes-rm", "Did you mean 'scenes-rn' or 'scenes-rn8'?"),
        ("RN-50", "Did you mean 'RN50'"),
        ("ViT-B32", "Did you mean 'ViT-B-32'"),
    ],
)
def test_an_unknown_architecture_suggests_known_ones(name: str, hint: str) -> None:
    message = f"model.architecture: unknown architecture {name!r}. {hint}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        Model(architecture=name).description()


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "coca_ViT-B-32", "roberta-ViT-B-32"])
def test_what_is_no_plain_clip_is_refused(name: str) -> None:
    # At load, not as a type error in the middle of a study.
    with pytest.raises(
        ConfigError, match=f"^model.architecture: '{name}' has a text tower of another kind than CLIP's"
    ):
        Model(architecture=name).description()


def test_open_clips_architectures_are_known() -> None:
    description = Model(architecture="RN50").description()
    # The papers' model, at the papers' image size.
    assert description["embed_dim"] == 1024
    assert description["vision_cfg"]["image_size"] == 224


def test_the_fingerprint_is_that_of_the_files_content(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    assert Model().fingerprint() is None
    assert Model(weights=str(path)).fingerprint() == hashlib.sha256(b"weights").hexdigest()
    # A copy elsewhere is the same start.
    copy = path.rename(tmp_path / "copy")
    assert Model(weights=str(copy)).fingerprint() == hashlib.sha256(b"weights").hexdigest()


def test_normalize() -> None:
    images = torch.rand(2, 3, 4, 4)
    mean, std = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)
    # Channel by channel, in the images' own type, without changing them.
    expected = torch.stack([(images[:, channel] - mean[channel]) / std[channel] for channel in range(3)], 1)
    torch.testing.assert_close(normalize(images), expected)
    assert normalize(images.double()).dtype == torch.float64
