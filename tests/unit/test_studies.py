"""Every study and base in the repository can be run: found by looking, so that a new one needs no test of its own."""

from pathlib import Path

import pytest

from bdray.config import read_yaml
from bdray.report.published import published_points
from bdray.study.__main__ import main
from bdray.study.files import names
from bdray.study.plan import jobs, trials
from bdray.study.search.base import Home
from bdray.study.spec import load

FOLDER = Path(__file__).parents[2] / "studies"
STUDIES = sorted(names(FOLDER))
BASE = FOLDER / "base"
BASES = sorted(path.relative_to(BASE).with_suffix("").as_posix() for path in BASE.rglob("*.yaml"))


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER.parent)


def test_there_are_studies() -> None:
    # Or the tests below have lost their meaning.
    assert {"ablations/lambda2", "smoke/lambda2", "smoke/search"} <= set(STUDIES)
    assert {"scenes", "scenes_tiny"} <= set(BASES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_can_be_planned(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Its file is valid, its points make experiments whose parts fit each other.
    assert main([name, "--dry-run", "--output", str(tmp_path)]) == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_what_it_is(name: str) -> None:
    loaded = load(name)
    study = loaded.study
    # A reader of the list and of the report learns what it is about.
    assert study.title
    assert not study.title.endswith(".")
    if study.published:
        # Whoever sets numbers beside those of a paper says where from, and what differs.
        assert study.source
        assert study.deviations
    # What it cites exists.
    published_points(study.published, loaded.described_axes)
    assert all(value in axis.values for axis in study.axes.values() if axis.values for value in study.compare)
    # Names belong to values.
    for axis in study.axes.values():
        values = axis.values or ()
        assert set(axis.names) <= {f"{value:g}" if isinstance(value, float) else str(value) for value in values}


@pytest.mark.parametrize("name", STUDIES)
def test_axes_that_a_study_turns_change_something(name: str, tmp_path: Path) -> None:
    loaded = load(name)
    if loaded.study.search.type == "grid":
        proposer = loaded.study.search.open(loaded.study.axes, loaded.objectives, Home("bdray", tmp_path))
        found = [jobs(trial)[-1].key for proposal in iter(proposer.ask, None) for trial in trials(loaded, proposal)]
        # Every trial is a training of its own: no two points mean the same.
        planned = loaded.study.search.planned(loaded.study.axes) or 0
        assert len(set(found)) == len(found) == planned * len(loaded.study.seeds)


@pytest.mark.parametrize("base", BASES)
def test_a_base_can_be_run(base: str, tmp_path: Path) -> None:
    # Under the smallest study, through --base.
    assert main(["smoke/lambda2", "--base", base, "--dry-run", "--output", str(tmp_path)]) == 0


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_yaml_is_in_order(path: Path) -> None:
    # No key twice, one top level; and the names that people have to type are plain.
    assert read_yaml(path)
    assert path.stem == path.stem.lower()
    assert " " not in path.stem
