"""Names in MLflow: those of the study's tables, and never two things under one."""

from collections.abc import Callable

import pytest

from bdray.pipeline.store import Store
from bdray.study.labels import knob_names, knob_params, view
from bdray.study.plan import Job, jobs
from bdray.study.space import Axis
from bdray.study.spec import LoadedStudy, load

LAMBDA = "defense.in_modal_weight"


def test_a_knob_has_the_name_that_its_author_gave_it() -> None:
    axes = {
        LAMBDA: Axis(label="λ₂", values=(0, 1)),
        "attack": Axis(variants={"BadNet": {}}),
        "defense.tau_positive": Axis(label="τ+", values=(1,)),
        "defense.recipe.epochs": Axis(values=(1, 2)),
    }
    # Its label or, for a group of variants, its own name; a path without a label says more than its last part.
    assert list(knob_names(axes).values()) == ["λ₂", "attack", "τ plus", "defense.recipe.epochs"]
    assert knob_params(axes, {LAMBDA: 1.0, "attack": "BadNet"}) == {"λ₂": "1", "attack": "BadNet"}


def test_knobs_that_share_a_label_keep_their_paths() -> None:
    axes = {
        "victim.recipe.epochs": Axis(label="epochs", values=(1, 2)),
        "defense.recipe.epochs": Axis(label="epochs", values=(1, 2)),
    }
    # One of them would else hide the other.
    assert knob_names(axes) == {path: path for path in axes}


def test_jobs_know_the_knobs_that_they_depend_on(grid: LoadedStudy) -> None:
    found = {job.stage.name: dict(job.point) for job in jobs(grid.trial({LAMBDA: 1}, 0))}
    # The base and the victim are shared by all values of λ₂.
    assert found == {"pretrain": {}, "victim": {}, "defend": {LAMBDA: 1}}


def test_the_order_of_a_knob_stands_where_text_has_it_too(workplace: object) -> None:
    words = ["axes={defense.in_modal_weight: {label: λ₂, values: [0.5, 1, 2]}}"]
    found = view(load("some/grid", words))
    assert (found.order, found.ascending) == ("params.`λ₂`", True)
    assert (found.knobs, found.metrics, found.curves) == (("λ₂",), ("ASR", "CA"), ("ASR by epoch", "CA by epoch"))
    # MLflow sorts 16 before 2, so the best come first instead: of ASR the lowest.
    found = view(load("some/grid", ["axes={defense.in_modal_weight: {label: λ₂, values: [0.5, 2, 16]}}"]))
    assert (found.order, found.ascending) == ("metrics.`ASR`", True)


@pytest.mark.parametrize("name", ["some/grid", "some/search"])
def test_every_study_has_a_view(name: str, workplace: object, store: Store, compute: Callable[[Job], None]) -> None:
    found = view(load(name))
    assert found.name == "λ₂: ASR, CA"
