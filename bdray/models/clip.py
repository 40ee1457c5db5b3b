"""Which CLIP: a named architecture, from random weights, from a file of weights or from open_clip's pretrained ones."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from bdray import config
from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    import open_clip
    from torch import Tensor

    from bdray.models.tokenizer import Tokenizer

ARCHITECTURES = Path(__file__).parent / "architectures"
"""Our own JSON files, in open_clip's format plus ``"vocabulary"``, the file of a compact tokenizer."""
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
"""Normalization of OpenAI's CLIP, the one that all three papers use."""
MAX_LOGIT_SCALE = 4.6052
"""Upper bound of the learned log(1/tau): tau >= 0.01 (CleanCLIP, src/train.py:181)."""


@component
class Model:
    """A CLIP architecture and where its first weights come from."""

    architecture: str = "scenes-rn"
    """Name of a JSON file in ``bdray/models/architectures`` or of an open_clip architecture such as ``RN50``. Weights
    of OpenAI and of CleanCLIP's public code need one that ends in ``-quickgelu``, such as ``RN50-quickgelu``."""
    weights: str | None = Field(default=None, min_length=1)
    """File of weights to start from instead of random ones: safetensors, or a torch file that holds tensors only, as
    open_clip and CleanCLIP's public code write them."""
    pretrained: str | None = Field(default=None, min_length=1)
    """Weights to start from by their open_clip tag, such as ``openai``; downloaded when they are first needed. Give
    this or ``weights``, or neither."""

    @model_validator(mode="after")
    def _starts_once(self) -> Self:
        if self.weights is not None and self.pretrained is not None:
            raise ValueError("give at most one of weights and pretrained")
        return self

    @property
    def has_weights(self) -> bool:
        """Whether its first weights are not random."""
        return self.weights is not None or self.pretrained is not None

    def description(self) -> dict[str, Any]:
        """The architecture's JSON.

        Raises:
            ConfigError: If no architecture has this name, or if it is no plain CLIP.
        """
        own = {path.stem: path for path in ARCHITECTURES.glob("*.json")}
        if self.architecture in own:
            found: dict[str, Any] = json.loads(own[self.architecture].read_text())
            return found
        import open_clip

        found = open_clip.get_model_config(self.architecture) or {}
        if not found:
            hint = config.did_you_mean(self.architecture, [*own, *open_clip.list_models()])
            raise ConfigError(f"model.architecture: unknown architecture {self.architecture!r}. {hint}")
        if "multimodal_cfg" in found or "hf_model_name" in found["text_cfg"]:
            raise ConfigError(
                f"model.architecture: {self.architecture!r} has a text tower of another kind than CLIP's. Choose a "
                "plain CLIP such as 'RN50' or 'ViT-B-32'."
            )
        if "hf_tokenizer_name" in found["text_cfg"]:
            raise ConfigError(
                f"model.architecture: {self.architecture!r} reads captions with another tokenizer than CLIP's, on "
                "whose tokens the text methods here rely. Choose a plain CLIP such as 'RN50' or 'ViT-B-32'."
            )
        return found

    def check(self) -> None:
        """Refuse a model that could not be made, without making it or reading its weights.

        Raises:
            ConfigError: If the architecture or the tag of its weights is unknown, or does not fit.
            CheckpointError: If the file of weights holds none, or those of another architecture.
        """
        self.description()
        if self.weights is not None:
            self.check_fits(self.weights)
        if self.pretrained is not None:
            from bdray.models import pretrained

            pretrained.check(self.architecture, self.pretrained)

    def check_fits(self, path: str) -> None:
        """Compare names and shapes in a file of weights with the architecture's.

        Raises:
            CheckpointError: If the file holds no weights, or those of another architecture.
        """
        from bdray.models import weights

        weights.check(Path(path))
        stat = Path(path).stat()
        _check_fits(self.architecture, path, stat.st_mtime_ns, stat.st_size)

    def fingerprint(self) -> str | None:
        """What its first weights are: the hash of their file or the name of their tag; None for random ones."""
        if self.pretrained is not None:
            return f"open_clip/{self.architecture}/{self.pretrained}"
        return None if self.weights is None else hash_of(Path(self.weights))

    def identity(self) -> dict[str, Any]:
        """All that decides the model before any training, as plain JSON."""
        return {"weights": self.fingerprint(), **self.description()}

    def first_weights(self) -> Path | None:
        """The file of its first weights, downloaded if it has to be; None for random ones.

        Raises:
            CheckpointError: If a download is needed and fails.
        """
        if self.pretrained is not None:
            from bdray.models import pretrained

            return pretrained.download(self.architecture, self.pretrained)
        return None if self.weights is None else Path(self.weights)

    def build(self, seed: int) -> "open_clip.CLIP":
        """Make the model with random weights from ``seed``, on the CPU."""
        import open_clip
        import torch

        fields = {key: value for key, value in self.description().items() if key not in ("vocabulary", "custom_text")}
        kind = open_clip.CustomTextCLIP if self.description().get("custom_text") else open_clip.CLIP
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = kind(**fields)
        model.visual.output_dim = fields["embed_dim"]  # timm's towers do not tell
        return model

    def skeleton(self) -> "open_clip.CLIP":
        """The model without memory for its weights."""
        return _skeleton(self.architecture)

    def tokenizer(self) -> "Tokenizer":
        """The tokenizer that fits the model's vocabulary and context length."""
        return _tokenizer(self.architecture)


def hash_of(path: Path) -> str:
    """SHA-256 of a file's content; files of gigabytes are read once for as long as they do not change."""
    stat = path.stat()
    return _hash_of(path, stat.st_mtime_ns, stat.st_size)


def normalize(images: "Tensor") -> "Tensor":
    """Turn images in [0, 1], float [N, 3, H, W], into what CLIP's image tower reads."""
    mean = images.new_tensor(PIXEL_MEAN)[:, None, None]
    std = images.new_tensor(PIXEL_STD)[:, None, None]
    return (images - mean) / std


@lru_cache
def _hash_of(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache
def _check_fits(architecture: str, path: str, changed: int, size: int) -> None:
    """As :meth:`Model.check_fits`, once for each state of the file."""
    from bdray.models import weights

    weights.check_fits(Model(architecture=architecture).skeleton(), weights.header(Path(path)), path)


@lru_cache(maxsize=8)
def _tokenizer(architecture: str) -> "Tokenizer":
    from bdray.models.tokenizer import CompactTokenizer

    description = Model(architecture=architecture).description()
    if "vocabulary" in description:
        path = ARCHITECTURES / description["vocabulary"]
        return CompactTokenizer.from_file(path, description["text_cfg"]["context_length"])
    import open_clip

    tokenizer: Tokenizer = open_clip.get_tokenizer(architecture)
    return tokenizer


@lru_cache(maxsize=8)
def _skeleton(architecture: str) -> "open_clip.CLIP":
    import torch

    with torch.device("meta"):
        return Model(architecture=architecture).build(seed=0)
