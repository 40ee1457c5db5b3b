"""The command line up to where a cluster would start."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bdray.pipeline.store import Store
from bdray.study.__main__ import main
from bdray.study.plan import jobs
from bdray.study.spec import LoadedStudy

Capture = pytest.CaptureFixture[str]


def test_list_names_every_study(workplace: Path, capsys: Capture) -> None:
    # Without a name, too: it is the first thing that people try.
    assert main(["--list"]) == main([]) == 0
    shown = capsys.readouterr().out
    assert "some/grid" in shown
    assert "A search" in shown
    # Bases are no studies.
    assert "base/tiny" not in shown


def test_dry_run_prints_the_plan_and_leaves_no_trace(workplace: Path, capsys: Capture) -> None:
    before = sorted(workplace.rglob("*"))
    assert main(["some/grid", "--dry-run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    # How much, how much of it is there, and every stage with its epochs.
    assert "2 points x 2 seeds = 4 trials; 7 stages, 0 in the store, 7 to compute: under a minute" in shown
    assert "λ₂=1 seed=1" in shown
    assert sorted(workplace.rglob("*")) == before


def test_dry_run_knows_the_store(
    workplace: Path, grid: LoadedStudy, capsys: Capture, store: Store, compute: Callable[..., None]
) -> None:
    for seed in (0, 1):
        for value in (0, 1):
            for job in jobs(grid.trial({"defense.in_modal_weight": value}, seed)):
                compute(job)
    assert main(["some/grid", "--dry-run", "--store", store.uri]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "7 stages, 7 in the store: nothing to compute" in shown
    assert f"store: {store.uri}" in shown


def test_dry_run_of_a_search(workplace: Path, capsys: Capture) -> None:
    assert main(["some/search", "--dry-run"]) == 0
    assert "points x 1 seed, chosen as it goes (optuna, random), until 4 points were tried" in " ".join(
        capsys.readouterr().out.split()
    )
    # Not even a journal.
    assert not (workplace / ".bdray").exists()


def test_options_may_stand_anywhere(workplace: Path, capsys: Capture) -> None:
    assert main(["--dry-run", "some/grid", "seeds=[0]", "--store", "there", "defense.recipe.epochs=9"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 points x 1 seed = 2 trials; 4 stages" in shown
    assert f"store: {workplace / 'there'}" in shown


@pytest.mark.parametrize(
    "arguments", [["some/grid", "--dry-run"], ["some/search", "--dry-run"], ["--list"], ["some/grid", "defense.x=1"]]
)
def test_what_needs_no_cluster_imports_none(workplace: Path, arguments: list[str]) -> None:
    heavy = {"matplotlib", "mlflow", "open_clip", "optuna", "pandas", "ray", "torch"}
    code = f"import sys; from bdray.study.__main__ import main; main({arguments})"
    code += f"; print('>', *({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=workplace)
    # A plan or a mistake shows after a second, not after ten.
    assert done.stdout.splitlines()[-1].split() == [">"]


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [(["--list"], {"numpy", "omegaconf", "pyarrow", "pydantic"}), (["some/grid", "--dry-run"], {"scipy", "jinja2"})],
)
def test_what_is_asked_often_imports_little(workplace: Path, arguments: list[str], heavy: set[str]) -> None:
    code = f"import sys; from bdray.study.__main__ import main; main({arguments})"
    code += f"; print('>', *({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=workplace)
    # Half a second for a list, where the libraries of a study take more than one.
    assert done.stdout.splitlines()[-1].split() == [">"]


@pytest.mark.parametrize(("text", "cause"), [("title: [", "cannot be read as YAML"), ("- no mapping", "must hold a")])
def test_a_damaged_study_in_the_list_hides_no_other(workplace: Path, capsys: Capture, text: str, cause: str) -> None:
    (workplace / "studies" / "some" / "grid.yaml").write_text(text, encoding="utf-8")
    (workplace / "studies" / "some" / "odd.yaml").write_text("title: '[/] 3'\n", encoding="utf-8")
    assert main(["--list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    # It says why in its own row, be it one that somebody is writing; the others are there.
    assert shown.index("some/grid") < shown.index(cause) < shown.index("some/odd") < shown.index("A search")
    # A title is text, not markup.
    assert "[/] 3" in shown


def test_errors_go_to_stderr_with_status_2(workplace: Path, capsys: Capture) -> None:
    assert main(["some/grid", "defense.recipe.epochs=[a]", "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    # Brackets of a value are text, not markup.
    assert err.startswith("error: ")
    assert "defense.recipe.epochs: ['a'] is not allowed" in err
    assert "Traceback" not in err


def test_options_have_one_spelling(workplace: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["some/grid", "--dry-run", "--stor", "there"])
    # An abbreviation that works today would mean something else with the next option.
    assert exit_.value.code == 2
    assert "unrecognized arguments: --stor" in capsys.readouterr().err


def test_help_shows_examples(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    assert "python -m bdray.study ablations/lambda2" in capsys.readouterr().out


def test_the_options_do_not_grow(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    found = {word.rstrip(",]") for word in capsys.readouterr().out.split() if word.startswith("--")}
    # Science belongs into YAML; an option says where things are.
    places = {"--address", "--attach", "--store", "--tracking-uri", "--output"}
    assert found == {"--help", "--list", "--dry-run", "--base"} | places
