"""What the triggers do to the clean model that the attack starts from, before any poisoning."""

from dataclasses import dataclass

from bdray.report.results import Results
from bdray.report.sampling import image_interval
from bdray.report.study import Metric

CLEAN_ASR = Metric(name="base_attack_success_rate_top1", label="ASR@1 on the clean model", goal="min")


@dataclass(frozen=True)
class CleanRate:
    """Attack success rate of one trigger on one clean model."""

    name: str
    """The values that choose the trigger; empty where there is only one."""
    rate: float
    sampled: tuple[float, float] | None
    """Wilson's interval of the sampling of images; there is one model, so no interval of trainings."""

    @property
    def text(self) -> str:
        """``BadNet 0.3% [0.1, 0.7]``."""
        bounds = CLEAN_ASR.show_bounds(self.sampled) if self.sampled else ""
        return " ".join(filter(None, [self.name, CLEAN_ASR.say_value(self.rate), bounds]))


def clean_rates(results: Results) -> list[CleanRate]:
    """One for each trigger; none where the study has no clean model, or is older than this measurement."""
    models, name = results.models, CLEAN_ASR.name
    if name not in models.columns:
        return []
    rows = models[(models["status"] == "done") & models[name].notna()]
    labels = _labels(results, rows.index.tolist())
    found: dict[tuple[str, float], CleanRate] = {}
    for index, label in labels.items():
        rate = float(rows[name].loc[index])
        if (label, rate) not in found:
            found[label, rate] = CleanRate(label, rate, image_interval(rows.loc[[index]], name))
    return list(found.values())


def describe_clean_base(results: Results) -> str:
    """A sentence on how much of the attack success rate needs no poison."""
    rates = clean_rates(results)
    if not rates:
        return ""
    highest = max(rates, key=lambda found: found.rate)
    value = CLEAN_ASR.say_value(highest.rate)
    if len(rates) == 1:
        return f"On the clean model, before any poisoning, the trigger has an ASR@1 of {value}."
    return f"On the clean model, before any poisoning, the triggers have an ASR@1 of at most {value} ({highest.name})."


def _labels(results: Results, rows: list[int]) -> dict[int, str]:
    """What tells the triggers of some models apart: the first axis that does, else their types."""
    models = results.models.loc[rows]
    rates = models[CLEAN_ASR.name]
    if rates.nunique() <= 1:
        return dict.fromkeys(rows, "")
    for axis in results.study.axes:
        levels = models[axis.field]
        if levels.notna().all() and (rates.groupby(levels).nunique() == 1).all():
            return {row: results.show(_only(results, axis.field, levels.loc[row])) for row in rows}
    return {row: str(kind) for row, kind in zip(rows, models["trigger_type"], strict=True)}


def _only(results: Results, field: str, level: float | str) -> tuple[float | str | None, ...]:
    return tuple(level if axis.field == field else None for axis in results.study.axes)
