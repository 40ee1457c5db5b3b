"""``python -m bdray.store`` on small stores: what it shows, what it finds, and above all what it leaves alone."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bdray.cli import BAD_INPUT, FOUND, GOOD
from bdray.pipeline.stages import Stage
from bdray.pipeline.store import Store
from bdray.store.__main__ import main, size
from bdray.store.entries import read
from bdray.study.plan import jobs
from bdray.study.spec import LoadedStudy, load
from tests.unit.study.conftest import BLENDED, GRID, SEARCH, TINY

Capture = pytest.CaptureFixture[str]
OLD = time.time() - 100 * 3600
LAMBDA = "defense.in_modal_weight"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {"base/tiny": TINY, "base/blended": BLENDED, "some/grid": GRID, "some/search": SEARCH}
    for name, text in files.items():
        path = tmp_path / "studies" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def store(workplace: Path) -> Store:
    return Store(str(workplace / ".bdray" / "store"), workplace / "cache")


def put(store: Store, stage: Stage) -> None:
    """A result, as a worker saves it."""
    file = Path("model.safetensors")
    file.write_text(stage.key)
    made = {"reads": stage.reads(), "inputs": {one.name: one.key for one in stage.inputs}, "metrics": {}}
    store.save(stage.name, stage.key, made, {file.name: file})


def fill(store: Store, loaded: LoadedStudy, point: dict[str, float], seed: int = 0) -> list[str]:
    """All results of a trial; their folders."""
    stages: list[Stage] = []
    for job in jobs(loaded.trial(point, seed)):
        stages += [stage for stage in (job.stage, job.evaluation, job.base_evaluation) if stage is not None]
    for stage in stages:
        put(store, stage)
    return [f"{stage.name}/{stage.key}" for stage in stages]


def age(store: Store) -> None:
    """Let everything be of last week."""
    for path in Path(store.uri).rglob("*"):
        os.utime(path, (OLD, OLD))


def folders(store: Store) -> set[str]:
    return {entry.folder for entry in read(store).entries}


def test_ls_says_what_results_are(store: Store, capsys: Capture) -> None:
    fill(store, load("some/grid"), {LAMBDA: 1}, seed=1)
    assert main(["ls"]) == GOOD
    shown = capsys.readouterr().out
    # Attack, defense and seed, though the manifest of an evaluation knows only its own inputs.
    for words in (
        "clean base",
        "badnet→banana, seed 1",
        "cleanclip of badnet→banana, seed 1",
        "test of cleanclip of badnet→banana, seed 1",
        "test badnet→banana of clean base",
    ):
        assert words in shown
    assert main(["ls", "victim"]) == GOOD
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["ls", "victims"]) == BAD_INPUT
    assert "stage 'victims': there is no such stage. Known: pretrain" in capsys.readouterr().err


def test_du_counts_everything_once(store: Store, capsys: Capture) -> None:
    fill(store, load("some/grid"), {LAMBDA: 1})
    store.set_aside("victim", "feedfeedfeedfeed", "victim/feedfeedfeedfeed/model", "a test")
    workspace = store.workspace("defend", "0123456789abcdef")
    workspace.mkdir(parents=True)
    (workspace / "state").write_bytes(bytes(2500))
    assert main(["du"]) == GOOD
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    # Base, victim and defense, three evaluations; and what is no result.
    assert [lines[name][0] for name in ("pretrain", "trigger", "victim", "defend", "evaluate")] == list("10113")
    assert lines["damaged"][0] == "1"
    assert lines["unfinished"] == ["1", "2.5", "kB"]
    assert lines["all"][0] == "8"


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (4.3e15, "4300.0 TB")])
def test_sizes(count: int, shown: str) -> None:
    assert size(count) == shown


def test_verify_finds_every_kind_of_damage(store: Store, capsys: Capture) -> None:
    fill(store, load("some/grid"), {LAMBDA: 1})
    assert main(["verify"]) == GOOD
    assert "6 files of 6 results" in capsys.readouterr().out
    root = Path(store.uri)
    (changed,) = root.glob("victim/*/model-*")
    changed.write_text("f" * 16)
    (gone,) = root.glob("defend/*/model-*")
    gone.unlink()
    (manifest,) = root.glob("pretrain/*/manifest.json")
    manifest.write_text(manifest.read_text().replace('"metrics": {}', '"metrics": {"loss": 0}'))
    before = sorted(root.rglob("*"))
    assert main(["verify"]) == FOUND
    shown = capsys.readouterr().out
    assert f"damaged: {changed.relative_to(root)}: its hash is not the manifest's" in shown
    assert f"damaged: {gone.relative_to(root)}: it is gone" in shown
    assert f"damaged: {manifest.relative_to(root)}: its hash is not the one it was written with" in shown
    assert "3 are damaged; studies that need them compute them anew" in shown
    # To look changes nothing.
    assert sorted(root.rglob("*")) == before
    assert main(["verify", "evaluate"]) == GOOD


def test_gc_keeps_what_a_study_needs(store: Store, capsys: Capture) -> None:
    grid = load("some/grid")
    needed = [folder for value in (0, 1) for folder in fill(store, grid, {LAMBDA: value})]
    foreign = fill(store, load("some/grid", ["defense.clip_weight=2"]), {LAMBDA: 1})
    other_base = fill(store, load("some/grid", base="blended"), {LAMBDA: 0})
    everything = folders(store)
    age(store)
    assert main(["gc", "some/grid"]) == GOOD
    shown = capsys.readouterr().out
    # Told, with what it is, and not done.
    assert "cleanclip of blended→banana" in shown
    assert "--delete removes them" in shown
    assert folders(store) == everything
    assert main(["gc", "some/grid", "--base", "blended", "--delete"]) == GOOD
    assert folders(store) == {*needed, *other_base}
    assert main(["gc", "some/*", "!some/search", "--delete"]) == GOOD
    # An evaluation of a model that stays, here of the base, is small and stays with it.
    (judged,) = folders(store) - set(needed)
    assert judged in other_base
    assert judged.startswith("evaluate/")
    assert not folders(store) & set(foreign) - set(needed)
    capsys.readouterr()
    assert main(["gc", "some/grid", "--delete"]) == GOOD
    assert "There is nothing to remove." in capsys.readouterr().out


def test_gc_leaves_alone_what_is_young(store: Store, capsys: Capture) -> None:
    fill(store, load("some/grid", ["defense.clip_weight=2"]), {LAMBDA: 1})
    before = folders(store)
    assert main(["gc", "some/grid", "--delete"]) == GOOD
    # A study that nobody named may be running.
    assert folders(store) == before
    assert "2 that nobody needs are younger than 24 hours and stay" in capsys.readouterr().out
    assert main(["gc", "some/grid", "--delete", "--hours", "0"]) == GOOD
    assert len(before - folders(store)) == 2


def test_gc_touches_unfinished_work_only_if_asked(store: Store, workplace: Path) -> None:
    victim, defend = [job.stage for job in jobs(load("some/grid").trial({LAMBDA: 1}, 0))][1:]
    states = [store.workspace("victim", victim.key), store.workspace("defend", "0123456789abcdef")]
    for folder in states:
        (folder / "phase").mkdir(parents=True)
        (folder / "phase" / "checkpoint.safetensors").write_text("state")
    assert main(["gc", "some/grid", "--delete", "--unfinished"]) == GOOD
    # Not what is at work now,
    assert all(folder.exists() for folder in states)
    age(store)
    assert main(["gc", "some/grid", "--delete"]) == GOOD
    # nor what was not asked for,
    assert all(folder.exists() for folder in states)
    assert main(["gc", "some/grid", "--delete", "--unfinished"]) == GOOD
    # nor what a named study would go on from.
    assert [folder.exists() for folder in states] == [True, False]
    assert defend.key not in str(states)


def test_gc_clears_away_strays_and_what_was_set_aside(store: Store) -> None:
    kept = fill(store, load("some/grid"), {LAMBDA: 1})
    stray = Path(store.uri) / kept[0] / "model-0badf00d.safetensors.0123"
    stray.write_text("half")
    store.set_aside("victim", "feedfeedfeedfeed", "victim/feedfeedfeedfeed/model", "a test")
    assert main(["gc", "some/grid", "--delete"]) == GOOD
    assert stray.exists()
    age(store)
    assert main(["gc", "some/grid", "--delete"]) == GOOD
    # The result itself stays as it is.
    assert not stray.exists()
    assert store.damaged() == {}
    assert main(["verify"]) == GOOD


def test_the_points_of_a_search_are_those_of_its_runs(store: Store, workplace: Path, capsys: Capture) -> None:
    search = load("some/search")
    chosen, left = [fill(store, search, {LAMBDA: value}) for value in (0.7, 5.0)]
    age(store)
    assert main(["gc", "some/search", "--delete"]) == BAD_INPUT
    assert "study 'some/search': is a search, and which points it chose is known from its runs only" in " ".join(
        capsys.readouterr().err.split()
    )
    # Of all studies one is not known, so nothing goes; without --delete that is a remark.
    assert main(["gc", "--delete"]) == BAD_INPUT
    assert "Nothing was removed." in capsys.readouterr().err
    assert main(["gc"]) == GOOD
    assert "Not known: study 'some/search'" in capsys.readouterr().out
    run = workplace / "elsewhere" / "studies" / "some" / "search-01234567"
    run.mkdir(parents=True)
    with (run / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        defended = next(folder for folder in chosen if folder.startswith("defend/"))
        writer.writerows([["role", "key", "victim_key"], ["trial", defended.partition("/")[2], ""]])
    assert main(["gc", "some/search", "--output", ".bdray", "--output", "elsewhere", "--delete"]) == GOOD
    # The model that was chosen, what it was made from, and its evaluation.
    assert folders(store) == set(chosen)
    assert set(left) - folders(store) != set()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gc", "some/grdi"], "study 'some/grdi': there is no such study. Did you mean 'some/grid'"),
        (["ls", "--store", "nowhere://x"], "is not a place that can be opened"),
        (["gc", "some/grid", "--base", "none"], "base 'none': there is no such base"),
    ],
)
def test_mistakes_are_one_line(store: Store, capsys: Capture, words: list[str], told: str) -> None:
    assert main(words) == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("words", [["ls", "--delete"], ["du", "victim"], ["verify", "--base", "tiny"], ["clean"]])
def test_words_that_belong_elsewhere_are_refused(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2


@pytest.mark.parametrize("command", ["ls", "gc"])
def test_nothing_heavy_is_imported(store: Store, workplace: Path, command: str) -> None:
    fill(store, load("some/grid"), {LAMBDA: 1})
    heavy = {"matplotlib", "mlflow", "open_clip", "optuna", "pandas", "ray", "torch"}
    words = [command, "!some/search"] if command == "gc" else [command]
    code = f"import sys; from bdray.store.__main__ import main; main({words})"
    code += f"; print('>', *({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=workplace)
    assert done.stdout.splitlines()[-1].split() == [">"]


def test_all_of_it_works_on_an_object_store(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pytest.importorskip("moto", reason="needs an S3 server: pip install 'moto[s3]' flask flask-cors")
    from tests.object_store import ENVIRONMENT, object_store

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with object_store() as server:
        remote = Store(server.uri("store"), workplace / ".bdray" / "cache")
        needed = fill(remote, load("some/grid"), {LAMBDA: 1})
        fill(remote, load("some/grid", ["defense.clip_weight=2"]), {LAMBDA: 1})
        (victim,) = [file.path for file in remote.place.files("victim") if "model" in file.path]
        remote.place.remove(victim)
        remote.place.claim(victim, b"f" * 16)
        words = ["--store", remote.uri]
        assert main(["ls", *words]) == main(["du", *words]) == GOOD
        assert main(["verify", *words]) == FOUND
        assert f"damaged: {victim}: its hash is not the manifest's" in capsys.readouterr().out
        assert main(["gc", "some/grid", *words, "--delete", "--hours", "0"]) == GOOD
        assert folders(remote) == set(needed)
