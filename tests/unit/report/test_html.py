import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bdray.report import Report, build, figures, html
from bdray.report.results import load
from bdray.report.tables import summarize

Write = Callable[..., Path]
Rows = list[dict[str, Any]]


@pytest.fixture
def full_page(full_report: Report) -> str:
    return full_report.page.read_text(encoding="utf-8")


def page(folder: Path) -> str:
    """The page alone, without the files beside it."""
    results = load(folder)
    panels = figures.result_panels(results), figures.learning_panels(results)
    return html.render(results, summarize(results), *panels)


def test_full_report_writes_everything(full_report: Report) -> None:
    report, folder = full_report, full_report.page.parent
    names = ["report.html", "table.csv", "table.tex", "tidy.csv"]
    names += ["differences.csv", "differences.tex", "tidy.parquet"]
    names += [f"{stem}.{kind}" for stem in ("figure", "learning_curves") for kind in ("png", "svg", "pdf")]
    # every file is there and not empty
    assert [path.name for path in report.files] == names
    assert all((folder / name).stat().st_size > 500 for name in names if name != "table.csv")
    assert (report.done, report.planned) == (18, 18)


def test_page_is_self_contained(full_page: str) -> None:
    text = full_page
    references = re.findall(r'(?:src|href|action|data|poster|srcset)\s*=\s*["\']?([^"\'\s>]*)', text)
    # every reference stays inside the page, and the policy forbids the rest
    assert all(reference.startswith("#") for reference in references)
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe|<img", text)
    assert "http://" not in text.replace("sqlite://", "")
    assert "https://" not in text
    assert "default-src 'none'" in text


def test_ids_are_unique(full_page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', full_page)
    # four figures share a page without taking each other's glyphs
    assert len(ids) == len(set(ids))


def test_figures_follow_the_page_colors(full_page: str) -> None:
    text = full_page
    # drawn colors are variables, which dark mode redefines
    assert "var(--c0a66b0)" in text
    assert "prefers-color-scheme: dark" in text


def test_everything_untrusted_is_escaped(write: Write) -> None:
    evil = "<script>alert(1)</script>--><img src=x onerror=alert(1)>"
    folder = write(
        {
            "name": evil,
            "title": evil,
            "question": evil,
            "source": evil,
            "axes": [
                {
                    "field": "defense.in_modal_weight",
                    "label": evil,
                    "values": [0, 0.5, 1, 2, 4, 8],
                    "names": {"0": evil},
                }
            ],
            "metrics": [
                {"name": "attack_success_rate_top1", "label": evil, "goal": "min"},
                {"name": "clean_accuracy_top1", "label": evil, "goal": "max"},
            ],
            "deviations": [evil],
            "notes": [evil],
            "examples": [{"label": evil, "file": "examples/none.png"}],
            "settings": {evil: {"type": evil, "caption": evil, "list": [evil]}},
            "provenance": {"host": evil, "versions": {evil: evil}},
            "failures": [{"trial": evil, "reason": evil}],
            "mlflow": {"uri": evil, "command": evil},
        }
    )
    text = page(folder)
    # nothing of it is markup, in the page or in its figures
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;") >= 17


def test_half_finished_report_lists_what_is_missing(write: Write, models: Rows) -> None:
    failures = [{"trial": "λ₂ = 8, seed 2", "reason": "loss is NaN in epoch 2"}]
    text = page(write({"failures": failures}, models[:20]))
    # how far, what failed and why, what is missing
    assert "17 of 18 trials done" in text
    assert "λ₂ = 8, seed 2: loss is NaN in epoch 2" in text
    assert "Missing: λ₂ = 8, seed 2." in text


def test_empty_study_has_a_report(write: Write) -> None:
    report = build(write(models=[], history=[]))
    # no figure from no results, yet a page that says so
    assert [path.name for path in report.files] == ["report.html", "table.csv", "table.tex", "tidy.csv", "tidy.parquet"]
    assert "0 of 18 trials done" in report.page.read_text(encoding="utf-8")


def test_finished_report_has_no_warning(full_page: str) -> None:
    # a whole study needs none
    assert "trials done" not in full_page


def test_definitions_and_provenance(full_page: str) -> None:
    text = full_page
    # which ASR, how many images, which commit, how long, how to see the runs
    for needed in ("exclude_target", "<dd>1600</dd>", "3f9c2a1", "7.2 min", "mlflow ui --backend-store-uri"):
        assert needed in text


@pytest.mark.parametrize("settings", [{}, {"data": None}, {"a": {"b": {"c": [1, {"d": 2}]}}}])
def test_any_settings_are_shown(write: Write, settings: dict[str, Any]) -> None:
    # settings are whatever the experiment was
    assert "Settings of the experiment" in page(write({"settings": settings}))


def test_pictures_are_inside_the_page(overview: Callable[..., Path]) -> None:
    text = page(overview())
    (image,) = re.findall(r"<img[^>]*>", text)
    # embedded, allowed by the policy, described for those who cannot see it, enlarged by a whole number
    assert 'src="data:image/png;base64,' in image
    assert "img-src data:" in text
    assert 'alt="BadNet: 6 test images' in image
    assert 'width="384" height="192" class="enlarged"' in image
    # its rows are named
    assert all(f"<li>{name}</li>" in text for name in ("clean", "triggered", "difference ×10"))
    # one that is missing is said to be
    assert "examples/sig-0.png</code> cannot be read" in text


def test_large_pictures_keep_their_size(overview: Callable[..., Path]) -> None:
    folder = overview()
    Image.new("RGB", (1344, 672)).save(folder / "examples" / "badnet-0.png")
    (image,) = re.findall(r"<img[^>]*>", page(folder))
    # photographs are neither enlarged nor drawn in hard pixels
    assert 'width="1344" height="672" alt' in image


def test_a_study_of_attacks_speaks_of_no_defense(overview: Callable[..., Path]) -> None:
    text = page(overview())
    body = text[text.index("<body>") : text.index("Settings of the experiment")]
    # no trial was defended, so no table, figure or note says so
    assert "defended" not in body
    assert "the defense" not in body
    assert "before any defense" not in body
    assert body.count("<td>victim</td>") == 6
    # learning curves are those of the attack, and chance is that of its models
    assert "by epoch of the attack" in body
    assert "<dd>0.4% of clean test images are taken for the target by the victims" in body


def test_a_study_may_defend_some_of_its_models(write: Write, models: Rows) -> None:
    field = "defense.in_modal_weight"
    rows = [row | {"defense_type": "none" if row[field] == 0 else "cleanclip"} for row in models if row[field] != ""]
    results = load(write(models=rows))
    text = page(results.folder)
    # each model is called what it is, and chance is that of those without a defense
    assert (text.count("<td>victim</td>"), text.count("<td>defended</td>")) == (3, 15)
    assert len(results.undefended) == 3
    assert results.epoch_label == "epoch of the last stage"
    assert "<dt>Chance</dt>" in text


def test_every_metric_has_one_column_and_its_meaning(overview: Callable[..., Path]) -> None:
    text = page(overview())
    header = text[text.index("Every model") :]
    # embedding distance is the study's own metric here, so not shown twice
    assert header.count('<th scope="col">distance</th>') == 1
    assert '<th scope="col">embedding distance</th>' not in header
    # the visibility of triggers is explained
    assert "<dt>PSNR, SSIM, L∞</dt>" in text


def test_notes_and_variants_are_shown(overview: Callable[..., Path], full_page: str) -> None:
    variants = {"SIG": {"attack": {"trigger": {"type": "sig", "delta": 0.16}}}}
    axis = {"field": "attack", "label": "attack", "values": ["BadNet", "SIG", "WaNet"], "variants": variants}
    text = page(overview(notes=["Tried delta 0.08 first."], axes=[axis]))
    # what was tried, and what a name stands for
    assert "<h2>Notes</h2>" in text
    assert "<li>Tried delta 0.08 first.</li>" in text
    assert '<span class="key">delta</span> <code>0.16</code>' in text
    # no heading without a note
    assert "<h2>Notes</h2>" not in full_page


def test_the_pictures_are_a_figure_too(overview: Callable[..., Path]) -> None:
    report = build(overview())
    # among the files, in each format
    assert {f"examples.{kind}" for kind in ("png", "svg", "pdf")} <= {path.name for path in report.files}


def test_no_figure_of_no_picture(overview: Callable[..., Path]) -> None:
    folder = overview()
    (folder / "examples" / "badnet-0.png").unlink()
    # the page says that both are missing, and nothing fails
    assert not any(path.name.startswith("examples") for path in build(folder).files)


def test_what_defenses_found_has_columns(write: Write, models: Rows, full_page: str) -> None:
    found = {"detection_precision": 0.5, "detection_auroc": 0.98765, "detection_true_positives": 42.0}
    rows = [row | (found if row["role"] == "trial" else dict.fromkeys(found, "")) for row in models]
    text = page(write(models=rows))
    header = re.findall(r'<th scope="col">(detection[^<]*)</th>', text)
    # rates in percent, the area with three decimals, a count with one; victims have none
    assert header == ["detection precision (%)", "detection AUROC", "detection true positives"]
    assert text.count("<td>50.0</td><td>0.988</td><td>42.0</td>") == 18
    assert text.count("<td>–</td><td>–</td><td>–</td>") == 3
    # and they are explained, where there are any
    assert "<dt>Detection</dt>" in text
    assert "<dt>Detection</dt>" not in full_page
