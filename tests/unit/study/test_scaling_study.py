"""Studies that say that they are about scaling."""

from pathlib import Path

import pytest

from bdray.exceptions import ConfigError
from bdray.study.spec import load

BODY = "title: Sizes\nbase: tiny\nseeds: [0]\n"
NUMBERS = "axes: {attack.num_poisoned: {values: [2, 4, 8]}}\n"
NAMES = (
    "axes: {size: {variants: {small: {data: {num_train: 64}}, large: {data: {num_train: 128}}}, "
    "positions: {small: 64, large: 128}}}\n"
)


def write(text: str) -> None:
    Path("studies/sizes.yaml").write_text(BODY + text, encoding="utf-8")


def test_numbers_are_sizes(workplace: Path) -> None:
    write(NUMBERS + "scaling: {extrapolate_to: [100]}\n")
    loaded = load("sizes")
    assert loaded.study.scaling is not None
    assert [loaded.described_axes[0].size(level) for level in loaded.described_axes[0].levels] == [2, 4, 8]
    # How laws are drawn decides no result.
    write(NUMBERS)
    assert load("sizes").id == loaded.id


def test_names_stand_for_sizes(workplace: Path) -> None:
    write(NAMES + "scaling: {}\n")
    (axis,) = load("sizes").described_axes
    assert [axis.size(level) for level in axis.levels] == [64, 128]
    assert axis.size("huge") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NAMES.replace(", positions: {small: 64, large: 128}", "") + "scaling: {}\n", "small, large of size are no n"),
        (NUMBERS[:-2] + ", defense.in_modal_weight: {values: [0, 1]}}\nscaling: {}\n", "needs exactly one axis"),
        (NAMES.replace("large: 128}", "huge: 128}") + "scaling: {}\n", "positions must name every value"),
        (NUMBERS + "scaling: {extrapolate_to: [0]}\n", "above 0"),
        (
            NUMBERS + 'published: [{paper: CleanCLIP, table: Table5, sizes: "{} poisons"}]\n',
            "`sizes` are drawn by scaling studies only",
        ),
        (
            NUMBERS + 'scaling: {}\npublished: [{paper: CleanCLIP, table: Table5, sizes: "{} pairs"}]\n',
            "no setting has a number",
        ),
    ],
)  # fmt: skip
def test_what_has_no_sizes_is_refused(workplace: Path, text: str, message: str) -> None:
    write(text)
    with pytest.raises(ConfigError, match=message):
        load("sizes")
