"""Which CLIP: names, first weights from a seed, and hashes of files."""

import hashlib
import re
from pathlib import Path

import pytest
import torch

from bdray import config
from bdray.exceptions import ConfigError
from bdray.models.clip import PIXEL_MEAN, PIXEL_STD, Model, normalize
from bdray.models.relevancy import token_relevancy


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


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ViT-B-16-SigLIP", "reads captions with another tokenizer than CLIP's"),
        ("ViT-L-14-CLIPA", "reads captions with another tokenizer than CLIP's"),
        ("coca_ViT-B-32", "has a text tower of another kind than CLIP's"),
        ("roberta-ViT-B-32", "has a text tower of another kind than CLIP's"),
    ],
)
def test_what_is_no_plain_clip_is_refused(name: str, reason: str) -> None:
    # At load, not as a type error in the middle of a study.
    with pytest.raises(ConfigError, match=f"^model.architecture: '{name}' {reason}"):
        Model(architecture=name).description()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RN50-quickgelu", "ViT-B-32-quickgelu", "EVA02-B-16"])
def test_the_papers_architectures_train_and_read_captions(name: str) -> None:
    model = Model(architecture=name)
    built, tokens = model.build(seed=0).train(), model.tokenizer()(["a photo of a banana", "two boots"])
    images = built.encode_image(torch.rand(2, 3, 224, 224), normalize=True)
    texts = built.encode_text(tokens, normalize=True)
    (images * texts).sum().backward()
    # Both towers meet in one space, and gradients reach the first layers of both.
    assert images.shape == texts.shape == (2, model.description()["embed_dim"])
    assert all(parameter.grad is not None for name, parameter in built.named_parameters() if name != "logit_scale")
    # What a linear head of supervised finetuning asks of any tower.
    assert built.visual.output_dim == images.shape[1]
    # UBT looks at attention inside the text tower, wherever that is.
    relevancy = token_relevancy(built.eval(), tokens, images.detach())
    assert relevancy.shape == tokens.shape


@pytest.mark.slow
@pytest.mark.soak
def test_every_architecture_that_is_accepted_can_be_built() -> None:
    import open_clip

    accepted = []
    for name in open_clip.list_models():
        try:
            Model(architecture=name).description()
        except ConfigError:
            continue
        with torch.device("meta"):  # without memory, so that models of gigabytes are built in a moment
            Model(architecture=name).build(seed=0)
        accepted.append(name)
    assert len(accepted) > 80


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
    # Other content under the same name is another one.
    copy.write_bytes(b"other weights")
    assert Model(weights=str(copy)).fingerprint() == hashlib.sha256(b"other weights").hexdigest()


def test_random_weights_and_weights_of_a_tag_have_identities() -> None:
    # A model from before ``pretrained`` is described as it was, or everything in all stores would be computed again.
    assert Model(architecture="scenes-rn8").identity() == {
        "weights": None,
        **Model(architecture="scenes-rn8").description(),
    }
    # A tag is known without a download.
    tagged = Model(architecture="RN50-quickgelu", pretrained="openai")
    assert tagged.fingerprint() == "open_clip/RN50-quickgelu/openai"
    with pytest.raises(ConfigError, match=r"give at most one of weights and pretrained"):
        config.build(Model, {"weights": "a.pt", "pretrained": "openai"}, "test")


def test_normalize() -> None:
    images = torch.rand(2, 3, 4, 4)
    mean, std = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)
    # Channel by channel, in the images' own type, without changing them.
    expected = torch.stack([(images[:, channel] - mean[channel]) / std[channel] for channel in range(3)], 1)
    torch.testing.assert_close(normalize(images), expected)
    assert normalize(images.double()).dtype == torch.float64
