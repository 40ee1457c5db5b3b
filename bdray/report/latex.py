"""Text for LaTeX."""

LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: rf"\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    **{
        letter: rf"$\{name}$"
        for letter, name in zip("αβγλτρ", ("alpha", "beta", "gamma", "lambda", "tau", "rho"), strict=True)
    },
    **{digit: f"$_{index}$" for index, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    "⁺": "$^+$",
    "⁻": "$^-$",
}
"""What LaTeX's text mode cannot print as it is."""


def escape(text: str) -> str:
    """The text as LaTeX prints it, whatever marks it holds."""
    return "".join(LATEX.get(letter, letter) for letter in text)
