"""open_clip's byte-pair tokenizer, whole or cut down to the tokens that a small model needs."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from bdray import config

NUM_BYTE_TOKENS = 512
"""The first ids of the vocabulary: every byte inside a word, then every byte at a word's end."""


class Tokenizer(Protocol):
    """Captions to token ids."""

    context_length: int

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Encode captions: int64 [N, context_length], padded with 0, cut to fit, the last token end-of-text."""
        ...


class CompactTokenizer:
    """open_clip's byte-pair encoding with a small vocabulary.

    Tokens outside the vocabulary are spelled in single bytes, so that any text can be encoded. Ids are: the 512
    byte tokens, the words of the vocabulary, start-of-text, end-of-text. End-of-text has the largest id
    because CLIP's text tower finds it by ``argmax``.
    """

    def __init__(self, words: Sequence[str], context_length: int) -> None:
        self.context_length = context_length
        self._full = _full_tokenizer()
        self.words = {self._full.encoder[word]: NUM_BYTE_TOKENS + index for index, word in enumerate(words)}
        self.start, self.end = NUM_BYTE_TOKENS + len(words), NUM_BYTE_TOKENS + len(words) + 1

    @classmethod
    def from_file(cls, path: Path, context_length: int) -> "CompactTokenizer":
        """Read a vocabulary with one token a line, as ``scripts/build_vocabulary.py`` writes it."""
        return cls(path.read_text(encoding="utf-8").split(), context_length)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.end + 1

    def encode(self, caption: str) -> list[int]:
        """Ids of a caption without start and end."""
        return [small for token in self._full.encode(caption) for small in self._compact(token)]

    def __call__(self, captions: Sequence[str]) -> Tensor:
        ids = torch.zeros(len(captions), self.context_length, dtype=torch.long)
        for row, caption in enumerate(captions):
            tokens = [self.start, *self.encode(caption)[: self.context_length - 2], self.end]
            ids[row, : len(tokens)] = torch.tensor(tokens)
        return ids

    def _compact(self, token: int) -> list[int]:
        if token < NUM_BYTE_TOKENS:
            return [token]
        if token in self.words:
            return [self.words[token]]
        text = self._full.decoder[token]
        letters = text.removesuffix("</w>")
        spelled = [self._full.encoder[letter] for letter in letters]
        return spelled if letters == text else [*spelled[:-1], self._full.encoder[letters[-1] + "</w>"]]


def identity(tokenizer: Tokenizer) -> str:
    """A hash of all that decides a tokenizer's ids, apart from code."""
    if isinstance(tokenizer, CompactTokenizer):
        return config.fingerprint(["compact", tokenizer.context_length, tokenizer.words])
    assert isinstance(tokenizer, SimpleTokenizer)  # whose vocabulary is made of its merges, in their order
    cleaning = [function and function.__qualname__ for function in (tokenizer.clean_fn, tokenizer.reduction_fn)]
    return config.fingerprint(["open_clip", tokenizer.context_length, tokenizer.encoder, cleaning])


@cache
def _full_tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()
