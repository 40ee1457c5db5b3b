"""Every experiment of the papers is a study that can be planned on scenes and at the paper's scale."""

import re
from pathlib import Path

import pytest

from bdray.attacks.triggers.patch import PatchTrigger
from bdray.data.files import Files
from bdray.data.scenes import Scenes
from bdray.defenses.supervised import Supervised
from bdray.pipeline.experiment import Experiment
from bdray.pipeline.store import Store
from bdray.study.plan import jobs, plan
from bdray.study.price import price
from bdray.study.search.base import Proposal
from bdray.study.space import combinations
from bdray.study.spec import LoadedStudy, load

STUDIES = Path(__file__).parents[3] / "studies"
EXPERIMENTS = (Path(__file__).parent / "experiments.txt").read_text(encoding="utf-8").split()
"""What the papers did, by the names of the table."""
LINE = re.compile(r"^\| `(\S+)` \| [^|]+ \| `(\S+)`[^|]* \| `(\S+)`[^|]* \| (yes|no) \|$", re.MULTILINE)
TABLE = {line[0]: line[1:] for line in LINE.findall((STUDIES / "README.md").read_text(encoding="utf-8"))}
"""Of each experiment its study, its base at the paper's scale, and whether published numbers stand beside it there."""


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(STUDIES.parent)
    monkeypatch.setenv("BDRAY_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all of them, because attacks that read captions draw the scenes."""
    return tmp_path_factory.mktemp("output")


def test_every_experiment_has_a_study() -> None:
    assert list(TABLE) == EXPERIMENTS


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_can_be_planned_on_scenes(experiment: str, output: Path) -> None:
    study, _, _ = TABLE[experiment]
    loaded = load(study, runtime={"output": str(output)})
    assert _planned(loaded, output)
    assert all(isinstance(found.data, Scenes) for found in _experiments(loaded))
    # What stands in for the paper's setting is said to.
    assert loaded.study.source
    assert loaded.study.deviations


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_can_be_planned_at_the_papers_scale(experiment: str, output: Path) -> None:
    study, base, numbers = TABLE[experiment]
    loaded = load(study, ["training.gpus_per_worker=1"], base=base, runtime={"output": str(output)})
    assert _planned(loaded, output)
    for found in _experiments(loaded):
        _check_scale(found)
    # The table says where the paper's numbers are shown.
    assert bool(loaded.study.published) == (numbers == "yes")


def _planned(loaded: LoadedStudy, folder: Path) -> bool:
    """Whether all of a study can be planned, without two points that mean the same, and costs something."""
    store = Store(str(folder / "store"), folder / "cache")
    proposals = [Proposal(number, point) for number, point in enumerate(combinations(loaded.study.axes))]
    found = plan(loaded, proposals, store)
    trials = [loaded.trial(proposal.point, seed) for proposal in proposals for seed in loaded.study.seeds]
    assert len({jobs(trial)[-1].key for trial in trials}) == len(trials)
    return price(found, loaded.runtime.training, 2, store).hours > 0


def _experiments(loaded: LoadedStudy) -> list[Experiment]:
    return [loaded.trial(point, loaded.study.seeds[0]).experiment for point in combinations(loaded.study.axes)]


def _check_scale(found: Experiment) -> None:
    """Nothing of a setting for 32 pixels and thousands of pairs is left."""
    trigger, defense = found.attack.trigger, found.defense
    assert isinstance(found.data, Files)
    assert not isinstance(trigger, PatchTrigger) or trigger.size == 16
    assert getattr(trigger, "cell", 1) == 1
    owners = [(found.victim, "recipe"), (defense, "recipe"), (defense, "overfit_recipe")]
    recipes = [getattr(owner, name, None) for owner, name in owners]
    assert not any(recipe.gradient_clip for recipe in recipes if recipe)
    # Pairs of CC3M have no labels.
    assert not isinstance(defense, Supervised) or found.data.finetune is None
