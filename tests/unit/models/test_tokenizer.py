"""The compact tokenizer: nothing is lost, and the end of text is where CLIP's text tower looks for it."""

import json
import runpy
from pathlib import Path

import pytest
from open_clip.tokenizer import SimpleTokenizer

from bdray.models.clip import ARCHITECTURES, Model
from bdray.models.tokenizer import NUM_BYTE_TOKENS, CompactTokenizer
from bdray.testing import VOCABULARY, tiny_tokenizer

ROOT = Path(__file__).parents[3]
CAPTIONS = [
    "a photo of a banana",
    "A small, striped RED ball  on the grass!",
    # Words that the vocabulary lacks are spelled in bytes.
    "photosynthesis of xylophones",
    "c3po & r2-d2 (1977): 50%",
    "naïve café, Zürich",
    "香蕉",
    "a 🍌 and a 👩🏽‍🚀",
    "الموز",
    "¡ÿĀ",
    # These are words here, not commands.
    "<start_of_text> banana <end_of_text>",
    "",
    "   ",
]


@pytest.fixture(scope="module")
def full() -> SimpleTokenizer:
    """open_clip's own tokenizer."""
    return SimpleTokenizer()


def decode(tokenizer: CompactTokenizer, full: SimpleTokenizer, ids: list[int]) -> str:
    """Back to text by the meaning of ids alone: bytes, then the vocabulary's lines."""
    words = VOCABULARY.read_text(encoding="utf-8").split()
    assert tokenizer.start == NUM_BYTE_TOKENS + len(words)
    spelled = "".join(full.decoder[token] if token < 512 else words[token - 512] for token in ids)
    return bytes(full.byte_decoder[letter] for letter in spelled.replace("</w>", " ")).decode()


def byte_level_text(full: SimpleTokenizer, caption: str) -> str:
    """What open_clip makes of the caption."""
    spelled = "".join(full.decoder[token] for token in full.encode(caption))
    return bytes(full.byte_decoder[letter] for letter in spelled.replace("</w>", " ")).decode()


@pytest.mark.parametrize("caption", CAPTIONS)
def test_no_caption_loses_anything(caption: str, full: SimpleTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer()
    monkeypatch.setitem(full.byte_decoder, " ", 32)
    # Ids decode to the very text that open_clip's whole vocabulary stands for (clean, in lower case).
    assert decode(tokenizer, full, tokenizer.encode(caption)) == byte_level_text(full, caption)
    # All of them are within the vocabulary, and none is start or end of text.
    assert all(0 <= token < tokenizer.start for token in tokenizer.encode(caption))


def test_captions_of_the_built_in_data_are_whole_words(full: SimpleTokenizer) -> None:
    tokenizer = tiny_tokenizer()
    caption = "a photo of a small checkered purple hourglass hovering over a large boot in the snow"
    # No word is spelled out, so a caption has as many tokens as in open_clip.
    assert len(tokenizer.encode(caption)) == len(full.encode(caption))
    assert min(token for token in tokenizer.encode("banana")) >= NUM_BYTE_TOKENS


@pytest.mark.parametrize("caption", [*CAPTIONS, "a very long caption " * 20, "🍌" * 50])
def test_the_end_of_text_is_the_largest_id_and_the_last(caption: str) -> None:
    tokenizer = tiny_tokenizer()
    (ids,) = tokenizer([caption])
    tokens = tokenizer.encode(caption)
    length = min(len(tokens) + 2, tokenizer.context_length)
    # start, as many tokens as fit, end, padding.
    assert ids.tolist() == [
        tokenizer.start,
        *tokens[: length - 2],
        tokenizer.end,
        *[0] * (tokenizer.context_length - length),
    ]
    # CLIP's text tower reads the features at argmax.
    assert ids.argmax() == length - 1
    assert tokenizer.end == tokenizer.vocab_size - 1


def test_a_batch_is_its_captions_one_by_one() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer(CAPTIONS)
    assert ids.shape == (len(CAPTIONS), tokenizer.context_length)
    assert [row.tolist() for row in ids] == [tokenizer([caption])[0].tolist() for caption in CAPTIONS]
    assert tokenizer([]).shape == (0, tokenizer.context_length)


@pytest.mark.parametrize("path", sorted(ARCHITECTURES.glob("*.json")), ids=lambda path: path.stem)
def test_every_architecture_has_room_for_its_vocabulary(path: Path) -> None:
    description = json.loads(path.read_text())
    tokenizer = Model(architecture=path.stem).tokenizer()
    # One id too few is an index error in the middle of a training, one too many wastes weights.
    assert isinstance(tokenizer, CompactTokenizer)
    assert description["text_cfg"]["vocab_size"] == tokenizer.vocab_size
    assert description["text_cfg"]["context_length"] == tokenizer.context_length


def test_the_vocabulary_is_what_its_script_writes(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "scripts" / "build_vocabulary.py"))["main"]()
    # Whoever changes the grammar of the captions or the synonyms has to write the vocabulary again.
    assert capsys.readouterr().out == VOCABULARY.read_text(encoding="utf-8")


def test_an_open_clip_architecture_has_its_own_tokenizer() -> None:
    tokenizer = Model(architecture="RN50").tokenizer()
    assert tokenizer.context_length == 77
    (ids,) = tokenizer(["a photo of a banana"])
    assert ids[:7].tolist() == [49406, 320, 1125, 539, 320, 8922, 49407]
