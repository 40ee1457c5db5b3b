"""Text and tables for LaTeX."""

from collections.abc import Sequence

GREEK = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "ζ": "zeta",
    "η": "eta",
    "θ": "theta",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "ν": "nu",
    "ξ": "xi",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "φ": "phi",
    "χ": "chi",
    "ψ": "psi",
    "ω": "omega",
    "Δ": "Delta",
    "Σ": "Sigma",
    "Ω": "Omega",
}
"""Names of Greek letters; LaTeX has them in mathematics only."""
LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: rf"\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{mark: f"${mark}$" for mark in "<>|"},
    "±": r"$\pm$",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≈": r"$\approx$",
    "≠": r"$\ne$",
    "∞": r"$\infty$",
    "…": r"\dots{}",
    "\u00a0": "~",
    "µ": r"$\mu$",
    "²": "$^2$",
    "³": "$^3$",
    **{letter: rf"$\{name}$" for letter, name in GREEK.items()},
    **{digit: f"$_{index}$" for index, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    "⁺": "$^+$",
    "⁻": "$^-$",
}
"""What LaTeX's text mode cannot print as it is."""


def escape(text: str) -> str:
    """The text as LaTeX prints it, whatever marks it holds."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def table(
    caption: str, header: Sequence[str], lines: Sequence[Sequence[str]], *, keys: int, rule_after: int = 0
) -> str:
    """A ``table`` for a paper; needs the package booktabs.

    Args:
        caption: Plain text, as are all cells.
        header: One name per column.
        lines: The cells, row by row.
        keys: Columns that name a row, which stand on the left of theirs; the others hold numbers.
        rule_after: Rows above a line of their own; 0: none.
    """
    rows = [" & ".join(map(escape, line)) + r" \\" for line in lines]
    rows = [f"{{}}{row}" if row.startswith(("[", "*")) else row for row in rows]  # the line above would take it
    if 0 < rule_after < len(rows):
        rows.insert(rule_after, r"\midrule")
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
            rf"  \begin{{tabular}}{{{'l' * keys + 'r' * (len(header) - keys)}}}",
            r"    \toprule",
            "    " + " & ".join(map(escape, header)) + r" \\",
            r"    \midrule",
            *(f"    {row}" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
