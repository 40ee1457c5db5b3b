"""The audit as one self-contained page."""

from functools import cache
from typing import TYPE_CHECKING

from bdray.audit.result import Audit, Finding, Share
from bdray.audit.verdict import MORE, MUCH, SOME, SURE, headline, summary
from bdray.report.examples import ROWS

if TYPE_CHECKING:
    from jinja2 import Template

ORDER = {"stands out": 0, "unclear": 1, "as the reference": 2, "nothing found": 3}


def render(audit: Audit) -> str:
    """The page as one string. Everything that comes from files is escaped by the template."""
    return _template().render(
        audit=audit,
        headline=headline(audit),
        alarmed=bool(audit.that("stands out")),
        summary=summary(audit),
        findings=ranked(audit),
        picture_rows=ROWS,
        percent=percent,
        interval=interval,
        limits={"much": MUCH, "some": SOME, "sure": SURE, "more": MORE},
    )


def ranked(audit: Audit) -> list[Finding]:
    """Findings, the most suspicious first."""
    return sorted(audit.findings, key=lambda found: (ORDER[found.verdict], -found.sinks[0].triggered.rate))


def percent(rate: float) -> str:
    """``92.4``."""
    return f"{100 * rate:.1f}"


def interval(share: Share) -> str:
    """``91.0 to 93.6``."""
    low, high = share.interval
    return f"{percent(low)} to {percent(high)}"


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bdray.audit", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("audit.html.j2")
