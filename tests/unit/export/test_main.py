"""The command line of exports."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bdray.export.__main__ import main

Capture = pytest.CaptureFixture[str]


def text(capsys: Capture) -> str:
    return capsys.readouterr().out


def test_export_verify_and_reproduce(workplace: Path, capsys: Capture) -> None:
    assert main(["tiny", "out"]) == 0
    shown = text(capsys)
    # What there is and where.
    assert shown.startswith("48 pairs, 8 poisoned: badnet, seed 0\n")
    assert "index  out/index.json" in shown
    assert main(["--verify", "out"]) == 0
    assert "Every file is as the index says." in text(capsys)
    assert main(["--from", "out/index.json", "again", "--output", "elsewhere"]) == 0
    assert "Every decision and every hash is that of out/index.json." in text(capsys)
    assert (workplace / "again" / "captions.csv").read_bytes() == (workplace / "out" / "captions.csv").read_bytes()
    # Store and cache are where they were told to be; a second time there is nothing to do.
    assert (workplace / ".bdray" / "cache").is_dir()
    assert (workplace / "elsewhere" / "cache").is_dir()
    assert main(["tiny", "out"]) == 0
    assert "It was there already" in text(capsys)


def test_fields_of_the_experiment_can_be_changed(workplace: Path, capsys: Capture) -> None:
    words = ["seed=3", "studies/base/tiny.yaml", "attack.num_poisoned=5", "attack.trigger={type: blended}"]
    assert main([words[1], "out", "--only-poisoned", words[0], *words[2:]]) == 0
    assert text(capsys).startswith("5 poisoned pairs: blended, seed 3\n")
    index = json.loads((workplace / "out" / "index.json").read_text())
    # Laid over the base, and written down as a whole.
    assert index["experiment"]["attack"]["trigger"]["alpha"] == 0.2
    assert index["experiment"]["victim"]["num_samples"] == 48
    assert len(list((workplace / "out" / "images").iterdir())) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tinny", "out"], r"command line: base 'tinny': there is no such base\. Did you mean 'tiny'\?"),
        (["tiny", "out", "seeds=[1]"], r"override 'seeds': an experiment has no such field\. Did you mean 'seed'\?"),
        (["tiny", "out", "attack.num_poisond=1"], r"command line: attack\.num_poisond: unknown field"),
        (["tiny", "out", "attack"], "override 'attack': must look like FIELD=VALUE"),
        (["tiny", "out", "victim.num_samples=65"], r"victim\.num_samples: 65 samples were asked for"),
        (["tiny", "studies"], "studies: holds 'base', and no export of this set"),
        (["--verify", "none"], r"none/index\.json: is missing"),
        (["--from", "none", "out"], "none: is missing"),
    ],
)
def test_a_mistake_gives_one_clear_message(workplace: Path, capsys: Capture, words: list[str], message: str) -> None:
    before = sorted(workplace.rglob("*"))
    assert main([*words, "--output", str(workplace.parent / "output")]) == 2
    err = capsys.readouterr().err
    # On standard error, in a line, and nothing was written.
    assert re.search(f"^error: .*{message}", err)
    assert len(err.splitlines()) == 1
    assert sorted(workplace.rglob("*")) == before


def test_a_changed_file_gives_status_2(workplace: Path, capsys: Capture) -> None:
    assert main(["tiny", "out"]) == 0
    captions, index = workplace / "out" / "captions.csv", workplace / "out" / "index.json"
    captions.write_text(captions.read_text().replace("True", r"\[/]True[/]", 1))
    assert main(["--verify", "out"]) == 2
    # Brackets of a value are text, not markup.
    assert re.search(
        r"^error: out/captions\.csv, line \d+: is_poisoned: '\\\\\[/\]True\[/\]' must", capsys.readouterr().err
    )
    tree = json.loads(index.read_text())
    index.write_text(json.dumps({**tree, "\x1b[31mred": 1}))
    assert main(["--verify", "out"]) == 2
    err = capsys.readouterr().err
    # And what a stranger wrote moves no cursor and paints nothing.
    assert "index.json: \\x1b[31mred: " in err
    assert "\x1b" not in err


@pytest.mark.parametrize(
    "words",
    [
        ["tiny"],
        ["tiny", "seed=1"],
        [],
        ["--from", "a"],
        ["--from", "a", "b", "seed=1"],
        ["--verify", "a", "b"],
        ["--verify", "a", "--from", "b"],
        ["--verify", "a", "--only-poisoned"],
        ["--from", "a", "b", "--only-poisoned"],
        ["tiny", "out", "--only"],
    ],
)
def test_words_that_do_not_fit_together(workplace: Path, capsys: Capture, words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    # Usage and a reason, as for any wrong command line.
    assert exit_.value.code == 2
    err = capsys.readouterr().err
    assert "usage: python -m bdray.export BASE FOLDER" in err
    assert "error: " in err


def test_a_mistake_shows_before_torch_is_loaded(workplace: Path) -> None:
    heavy = {"matplotlib", "mlflow", "open_clip", "optuna", "pandas", "ray", "torch"}
    code = "import sys; from bdray.export.__main__ import main; main(['tiny', 'out', 'attack.x=1'])"
    code += f"; print('>', *({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=workplace)
    # After a second, not after ten.
    assert done.stdout.splitlines()[-1].split() == [">"]


def test_the_options_do_not_grow(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    found = {
        word.rstrip(",]").lstrip("[") for word in capsys.readouterr().out.split() if word.lstrip("[").startswith("--")
    }
    # Science belongs into YAML; an option says what to do and where things are.
    assert found == {"--help", "--only-poisoned", "--from", "--verify", "--output", "--store"}
