"""``python -m bdray.text`` prints what becomes of captions."""

import io

import pytest

from bdray.text.__main__ import main
from bdray.text.parsers.lexicon import Lexicon
from bdray.text.sub_captions import make_sub_captions

CAPTIONS = ["a photo of a red ball on the grass", "apple"]


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(words) == 0
    return capsys.readouterr().out


def test_captions_become_rows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    captions = [*CAPTIONS, "a " + "very" * 50 + " long dog"]
    head, *rows = printed(capsys, monkeypatch, *captions).splitlines()
    assert head.split("\t") == ["caption", "factual", "counterfactual"]
    # Caption, factual and counterfactual sub-caption, in the order given, and whole: a pipe has no width.
    for row, made in zip(rows, make_sub_captions(captions, Lexicon(), seed=0), strict=True):
        assert row.split("\t") == [made.caption, made.factual, made.counterfactual]
    # Another seed, other counterfactual ones.
    assert printed(capsys, monkeypatch, "--seed", "1", *CAPTIONS) != printed(capsys, monkeypatch, *CAPTIONS)


def test_a_terminal_gets_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = printed(capsys, monkeypatch, "w" * 100)
    # As wide as the terminal, and yet nothing of a long word is lost.
    assert "\t" not in shown
    assert shown.count("w") >= 100


def test_captions_come_from_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = printed(capsys, monkeypatch, *CAPTIONS)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(CAPTIONS) + "\n"))
    assert printed(capsys, monkeypatch) == expected


def test_markup_in_captions_is_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # A caption is printed as it is, whatever is in brackets.
    assert "a [bold]red[/] ball" in printed(capsys, monkeypatch, "a [bold]red[/] ball")


def test_a_parser_that_is_not_installed_is_a_named_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spacy", None)
    assert main(["--parser", "spacy", "a ball"]) == 2
    # One line that says what to do, and nothing else.
    found = capsys.readouterr()
    assert found.out == ""
    assert "pip install spacy" in found.err
