import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bdray.config import read_yaml
from bdray.report import Report
from bdray.report.latex import escape, table

ENGINE = next(filter(None, map(shutil.which, ("tectonic", "pdflatex", "lualatex", "xelatex"))), None)
DOCUMENT = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n%s\n\\end{document}\n"
STUDIES = Path(__file__).parents[3] / "studies"


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("λ₂ = 0.5", r"$\lambda$$_2$ = 0.5"),
        ("τ⁺ × τ⁻", r"$\tau$$^+$ $\times$ $\tau$$^-$"),
        ("50% of R&D_x #1", r"50\% of R\&D\_x \#1"),
        ("≤ 5, ≥ 6, < 7, a|b", r"$\le$ 5, $\ge$ 6, $<$ 7, a$|$b"),
        (r"\input{x}^2~", r"\textbackslash{}input\{x\}\textasciicircum{}2\textasciitilde{}"),
        ("−12.3 ± 4 – 5", r"$-$12.3 $\pm$ 4 -- 5"),
    ],
)
def test_marks_are_escaped(text: str, latex: str) -> None:
    assert escape(text) == latex


def test_no_text_of_a_study_leaves_a_mark_that_latex_cannot_print() -> None:
    for path in sorted(STUDIES.rglob("*.yaml")):
        if path.parent.name != "base":
            tree = read_yaml(path)
            axes = tree.get("axes", {})
            texts = [str(tree.get("title", "")), *(str(axis.get("label", name)) for name, axis in axes.items())]
            texts += [str(metric.get("label", "")) for metric in tree.get("metrics", [])]
            for text in texts:
                # what is left beyond ASCII are letters, which every engine knows
                assert all(mark.isascii() or mark.isalpha() for mark in escape(text)), f"{path}: {text}"
                assert not set(escape(text)) & set("₀₁₂₃⁺⁻λτρ≤≥%") - {"%"}, text


def test_a_row_may_begin_with_a_bracket() -> None:
    text = table("Title", ["name", "value"], [["[0, 1]", "1"], ["*", "2"]], keys=1)
    # which would else be an argument of the line above, or a star of its end
    assert "\n    {}[0, 1] & 1 \\\\" in text
    assert "\n    {}* & 2 \\\\" in text


@pytest.mark.parametrize("name", ["table.tex", "differences.tex"])
def test_every_row_has_all_columns(full_report: Report, name: str) -> None:
    text = (full_report.page.parent / name).read_text(encoding="utf-8")
    for part in text.split(r"\begin{table}")[1:]:
        columns = re.search(r"\\begin{tabular}{([lr]+)}", part)
        rows = [line for line in part.splitlines() if line.endswith(r"\\")]
        assert columns
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns[1])}
        assert part.count(r"\toprule") == part.count(r"\bottomrule") == 1
        # as many dollars open mathematics as close it
        assert len(re.findall(r"(?<!\\)\$", part)) % 2 == 0


@pytest.mark.skipif(ENGINE is None, reason="no TeX engine on this machine")
def test_tables_compile(full_report: Report, tmp_path: Path) -> None:
    names = ("table.tex", "differences.tex")
    text = "\n".join((full_report.page.parent / name).read_text(encoding="utf-8") for name in names)
    (tmp_path / "tables.tex").write_text(DOCUMENT % text, encoding="utf-8")
    command = [str(ENGINE), *(["-interaction=nonstopmode", "-halt-on-error"] if "tectonic" not in str(ENGINE) else [])]
    done = subprocess.run([*command, "tables.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 1000
