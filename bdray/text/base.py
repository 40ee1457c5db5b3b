"""The family of caption augmentations."""

import random
from abc import abstractmethod

from bdray.registry import Component


class TextAugmentation(Component):
    """A way to make another caption for the same image.

    A member is one file in this folder; its fields are its hyperparameters. Making one costs nothing:
    whatever it needs (a dictionary, say) is loaded when a caption is first augmented.
    """

    def check(self) -> None:
        """Refuse to start where a resource that the member needs is not installed.

        Raises:
            DataError: That names it and how to get it.
        """

    @abstractmethod
    def augment(self, caption: str, rng: random.Random) -> str:
        """Make one augmented version of a caption.

        A pure function of the caption and of the state of ``rng``: equal arguments give an equal result in
        every process and on every machine. The global random state is neither read nor changed.

        Every string is accepted: empty, a single word, without letters, very long, in any language. Where there
        is nothing to augment, the caption comes back unchanged; a caption that has words never loses all of them.
        Letter case, punctuation and spacing need not survive: CLIP's tokenizer ignores the first and the last.

        Args:
            caption: The caption as the data set has it.
            rng: The only source of randomness. It advances by as many draws as the member needs.

        Raises:
            DataError: If a resource that the member needs is not installed. Never because of the caption.
        """
