"""What all pages share: their template and the colors of their figures."""

import re
from functools import cache
from typing import TYPE_CHECKING

from bdray.report.figures.colors import PAIRS

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(name: str) -> "Template":
    """A page's template; everything that it prints is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bdray.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


def dark_colors() -> list[tuple[str, str]]:
    """Colors by name, with their twins for dark pages."""
    return [(light.lstrip("#"), dark) for light, dark in PAIRS]


def themed(svg: str) -> str:
    """A figure whose colors follow the page's."""
    for light, _ in PAIRS:
        svg = re.sub(rf"{light}(?=[;\"])", f"var(--c{light.lstrip('#')})", svg)
    return svg
