"""Weights that open_clip knows by a tag: which fit, and where they are once they were downloaded."""

from http.client import HTTPException
from pathlib import Path

from bdray import config
from bdray.exceptions import CheckpointError, ConfigError


def check(architecture: str, tag: str) -> None:
    """Refuse a tag that open_clip does not have for the architecture, or whose model reads other inputs than ours.

    Nothing is downloaded.

    Raises:
        ConfigError: With the tags that there are, or the architecture that fits.
    """
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    known = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in known:
        hint = config.did_you_mean(tag, known)
        raise ConfigError(f"model.pretrained: open_clip has no weights {tag!r} for {architecture!r}. {hint}")
    found = open_clip.get_pretrained_cfg(architecture, tag)
    if found.get("quick_gelu", False) != open_clip.get_model_config(architecture).get("quick_gelu", False):
        twin = architecture.removesuffix("-quickgelu") if "-quickgelu" in architecture else f"{architecture}-quickgelu"
        raise ConfigError(
            f"model.pretrained: the weights {tag!r} were trained with another activation function than "
            f"{architecture!r} has, which shows in no name or shape. Choose model.architecture={twin}."
        )
    if (found["mean"], found["std"]) != (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD):
        raise ConfigError(
            f"model.pretrained: the weights {tag!r} of {architecture!r} read pixels normalized by a mean of "
            f"{found['mean']}, but here all models read OpenAI's normalization. Choose other weights."
        )


def download(architecture: str, tag: str) -> Path:
    """The local file of some weights, from open_clip's cache, or downloaded into it by open_clip itself.

    Raises:
        CheckpointError: If it is neither there nor can be downloaded, with tag, folder and what to do.
    """
    import open_clip
    from filelock import FileLock

    cfg = open_clip.get_pretrained_cfg(architecture, tag)
    folder = cache_folder(architecture, tag)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "bdray.lock"):  # open_clip itself would take another process's half of a file for all
            return Path(open_clip.download_pretrained(cfg))
    except (OSError, RuntimeError, HTTPException) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"model.pretrained: the weights {tag!r} of {architecture!r} are not in {folder} and cannot be downloaded "
            f'({reason}). Where there is a network, run `python -c "import open_clip; '
            f"open_clip.create_model('{architecture}', '{tag}')\"` and copy that folder here; or give a file of "
            "weights as model.weights."
        ) from error


def cache_folder(architecture: str, tag: str) -> Path:
    """Where open_clip keeps some weights: the Hugging Face cache, or its own for those it has a plain address of."""
    import open_clip
    from huggingface_hub import constants

    if open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub"):
        return Path(constants.HF_HUB_CACHE)
    return Path("~/.cache/clip").expanduser()
