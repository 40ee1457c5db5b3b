"""How a training is computed, which is nobody's science: precision, memory, compilation, and who makes batches."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bdray.exceptions import ConfigError
from bdray.registry import component

if TYPE_CHECKING:
    from bdray.models.clip import Model


@component
class Execution:
    """How the towers of a model are computed. Losses and the normalization of features are always in float32.

    No field makes another experiment, so none is part of a key; what was used is in the manifest. ``micro_batch`` and
    ``gradient_checkpointing`` compute the same numbers in another order. Reduced precision and compilation change the
    last digits of every step, which training amplifies, as another kind of GPU does: for numbers that agree digit by
    digit, keep the settings.
    """

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Type that the towers compute in, for training and evaluation, with weights in float32. ``fp16`` scales the loss
    and leaves out the steps whose gradient overflows, as its first ones do."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Images or captions that pass a tower at a time on each worker; None: all of a step. Their features are put
    together before the loss, and the passes are repeated for the gradient (Gao et al. 2021; ``--accum-freq`` of
    open_clip): loss and gradient are those of the whole batch, for a third more work. Models with batch normalization
    are refused: over parts of a batch it is another function. ``gradient_checkpointing`` is exact for these, too."""
    gradient_checkpointing: bool = False
    """Keep of a tower's blocks only what goes into them, and compute the rest once more for the gradient."""
    compile: bool = False
    """Compile the towers for training with ``torch.compile``; the first step then takes minutes."""
    loader_processes: int = Field(default=0, ge=0)
    """Processes of each worker that read, augment and poison images while the model computes; 0: the worker does it
    itself in between, which on a CPU costs the same. For a GPU give as many as ``benchmarks/input_pipeline.py`` finds
    that it takes, and reserve one CPU more than that by ``cpus_per_worker``. Batches are the same for any number."""

    augmentation: Literal["loader", "device"] = "loader"
    """Who makes the second views of images. ``loader``: whoever makes batches, once for all trials of a node where the
    set is small. ``device``: the device itself, for all images with the same operation at once, which leaves the
    drawing of these to the loader. On a CPU views are the same to the last bit; a GPU may round a few pixels otherwise.
    RoCLIP's, of which no two are alike, stay with the loader."""

    def check(self, model: "Model") -> None:
        """Refuse a model that would be trained to something else.

        Raises:
            ConfigError: That names the setting and says what to do.
        """
        if self.micro_batch is None and not self.gradient_checkpointing:
            return  # or every dry run would have to build the model
        from bdray.models.recomputation import kinds_of_batch_norm

        kinds = kinds_of_batch_norm(model.skeleton())
        if kinds and self.micro_batch is not None:
            raise ConfigError(
                f"training.micro_batch: {model.architecture} has batch normalization, which over parts of a batch is "
                "another function. Leave it out; training.gradient_checkpointing and more workers save memory, too."
            )
        if self.gradient_checkpointing and not kinds <= {"BatchNorm2d"}:
            raise ConfigError(
                f"training.gradient_checkpointing: {model.architecture} has {', '.join(sorted(kinds))}, whose "
                "statistics would be counted twice. Leave it out; more workers save memory, too."
            )
        if self.compile and self.gradient_checkpointing and kinds:
            raise ConfigError(
                f"training.compile: does not go with training.gradient_checkpointing for {model.architecture}, which "
                "has batch normalization. Leave one of them out."
            )
