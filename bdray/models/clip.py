"""Which CLIP: a named architecture, from random weights or from a file of weights."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

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
    """Name of a JSON file in ``bdray/models/architectures`` or of an open_clip architecture such as ``RN50``."""
    weights: str | None = Field(default=None, min_length=1)
    """File of weights to start from instead of random ones (safetensors, or a torch file that holds tensors only)."""

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
        if found.get("custom_text") or "hf_model_name" in found["text_cfg"]:
            raise ConfigError(
                f"model.architecture: {self.architecture!r} has a text tower of another kind than CLIP's. Choose a "
                "plain CLIP such as 'RN50' or 'ViT-B-32'."
            )
        return found

    def fingerprint(self) -> str | None:
        """Hash of the file of first weights, or None where there is none."""
        if self.weights is None:
            return None
        with Path(self.weights).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def build(self, seed: int) -> "open_clip.CLIP":
        """Make the model with random weights from ``seed``, on the CPU."""
        import open_clip
        import torch

        fields = {key: value for key, value in self.description().items() if key != "vocabulary"}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return open_clip.CLIP(**fields)

    def tokenizer(self) -> "Tokenizer":
        """The tokenizer that fits the model's vocabulary and context length."""
        from bdray.models.tokenizer import CompactTokenizer

        description = self.description()
        if "vocabulary" in description:
            path = ARCHITECTURES / description["vocabulary"]
            return CompactTokenizer.from_file(path, description["text_cfg"]["context_length"])
        import open_clip

        tokenizer: Tokenizer = open_clip.get_tokenizer(self.architecture)
        return tokenizer


def normalize(images: "Tensor") -> "Tensor":
    """Turn images in [0, 1], float [N, 3, H, W], into what CLIP's image tower reads."""
    mean = images.new_tensor(PIXEL_MEAN)[:, None, None]
    std = images.new_tensor(PIXEL_STD)[:, None, None]
    return (images - mean) / std
