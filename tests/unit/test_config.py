"""YAML and overrides: what is read, how trees are laid over each other, and what a mistake is answered with."""

import math
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field

from bdray import config
from bdray.config import Tree, build, dump, fingerprint, flatten, get_dotted, merge, read_overrides, read_yaml
from bdray.defenses.cleanclip import CleanCLIP
from bdray.exceptions import ConfigError
from bdray.registry import Component, component


class Shape(Component):
    """A family for these tests."""

    members_package: ClassVar[str | None] = "bdray.text"  # any folder will do; its modules define no shapes


@component
class Disc(Shape):
    """Round."""

    type: Literal["disc"] = "disc"
    radius: float = Field(default=1.0, gt=0)
    """Half the width."""


@component
class Box(Shape):
    """Square."""

    type: Literal["box"] = "box"
    width: int
    """Side of the box."""


@component
class Picture:
    """Something with fields of every kind."""

    title: str = Field(default="untitled", min_length=1)
    """What is written under it."""
    shape: Shape = Disc()
    """What is shown."""
    others: tuple[Shape, ...] = ()
    """What else is shown."""
    tags: tuple[str, ...] = Field(default=("new",), min_length=1)
    """Words."""
    opacity: float | None = Field(default=None, ge=0, le=1)
    """None: whatever the printer does."""
    mode: Literal["gray", "color"] = "color"
    """How it is printed."""
    pages: tuple[bool | int | float | str, ...] = ()
    """Where it is printed."""


@component
class Frame:
    """Something with a required component."""

    picture: Picture
    """What hangs in it."""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "study.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Numbers as people write them are numbers (YAML 1.1 takes 1e-3 for a string).
        ("rate: 1e-3", {"rate": 0.001}),
        ("rate: 2E5", {"rate": 2e5}),
        ("rate: 1.5e-3\ncount: 3\nnone: null\nsure: true", {"rate": 1.5e-3, "count": 3, "none": None, "sure": True}),
        # Nested mappings and lists stay what they are; quoted numbers stay text.
        ("a: {b: {c: [1, 2e-1, x]}}\nname: '1e-3'", {"a": {"b": {"c": [1, 0.2, "x"]}}, "name": "1e-3"}),
        # An empty file has no fields.
        ("", {}),
        ("# only a comment", {}),
    ],
)
def test_yaml_is_read_as_written(text: str, expected: Tree, tmp_path: Path) -> None:
    found = read_yaml(write(tmp_path, text))
    assert found == expected
    assert repr(found) == repr(expected)  # 1 == 1.0 == True would pass the line above


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "cannot be read as YAML. .*duplicate key a"),
        ("a: {b: 1, b: 2}", "cannot be read as YAML. .*duplicate key b"),
        ("a: [1", "cannot be read as YAML. while parsing a flow sequence"),
        (b"a: \xff\xfe", "cannot be read as YAML. "),
        ("- 1\n- 2", "must hold a mapping of fields, but holds a list."),
        ("!!python/object/apply:os.getcwd []", "cannot be read as YAML. could not determine a constructor"),
    ],
)
def test_bad_yaml_is_refused_in_one_line_that_names_the_file(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: {message}") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


def test_the_environment_stays_out_of_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    path = tmp_path / "study.yaml"
    path.write_text("a: ${oc.env:SECRET}")
    # Configurations end up in manifests and in MLflow: what looks like a reference stays the text it is.
    assert read_yaml(path) == {"a": "${oc.env:SECRET}"}
    assert read_overrides(["a=${oc.env:SECRET}"]) == {"a": "${oc.env:SECRET}"}


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.yaml"
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: there is no such file.$"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["a.b.c=1e-3"], {"a": {"b": {"c": 0.001}}}),
        (["a=[1, 2]", "b=null", "c=", "d=x y", "e='1'"], {"a": [1, 2], "b": None, "c": None, "d": "x y", "e": "1"}),
        # A value may hold further equals signs, and be a mapping.
        (["a=b=c", "d={e: 1}"], {"a": "b=c", "d": {"e": 1}}),
        # The last word wins; words of one branch come together.
        (["a.b=1", "a.c=2", "a.b=3"], {"a": {"b": 3, "c": 2}}),
        # A type and the fields of that type come together in whichever order they are given.
        (["shape.radius=2", "shape.type=disc"], {"shape": {"type": "disc", "radius": 2}}),
        (["shape.type=disc", "shape.radius=2"], {"shape": {"type": "disc", "radius": 2}}),
    ],
)
def test_overrides_become_a_tree(words: list[str], expected: Tree) -> None:
    assert read_overrides(words) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a.b", "override 'a.b': must look like FIELD=VALUE, for example defense.in_modal_weight=2."),
        ("=1", "override '=1': must look like FIELD=VALUE, for example defense.in_modal_weight=2."),
        (" =1", "override ' =1': must look like FIELD=VALUE, for example defense.in_modal_weight=2."),
    ],
)
def test_bad_override_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        read_overrides([word])


def test_override_that_is_no_yaml_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^override 'a=\[1': the value is not YAML\. while parsing") as caught:
        read_overrides(["a=[1"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        # Mappings are laid over each other key by key, everything else is replaced whole.
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        # The same type, or none said above: fields are kept.
        ({"s": {"type": "disc", "radius": 2}}, {"s": {"type": "disc"}}, {"s": {"type": "disc", "radius": 2}}),
        ({"s": {"type": "disc", "radius": 2}}, {"s": {"radius": 3}}, {"s": {"type": "disc", "radius": 3}}),
        # Another type: the old fields mean nothing to it.
        ({"s": {"type": "disc", "radius": 2}}, {"s": {"type": "box"}}, {"s": {"type": "box"}}),
        # No type yet: nothing changes, so nothing is lost.
        ({"s": {"radius": 2}}, {"s": {"type": "disc"}}, {"s": {"type": "disc", "radius": 2}}),
        # A component deep inside starts afresh alone.
        (
            {"a": {"x": 1, "s": {"type": "disc", "radius": 2}}},
            {"a": {"s": {"type": "box", "width": 3}}},
            {"a": {"x": 1, "s": {"type": "box", "width": 3}}},
        ),
    ],
)
def test_merge(below: Tree, above: Tree, expected: Tree) -> None:
    before = repr((below, above))
    assert merge(below, above) == expected
    # Neither tree is changed.
    assert repr((below, above)) == before


def test_dotted_paths() -> None:
    tree = {"a": {"b": {"c": 1}}, "d": None}
    # Reading a path that is not there, or that goes through a leaf, finds nothing.
    assert get_dotted(tree, "a.b.c") == 1
    assert [get_dotted(tree, path) for path in ("d", "d.e", "a.b.c.d", "x", "a.x.c")] == [None] * 5
    # Writing makes a changed copy.
    assert config.set_dotted(tree, "a.b.d", 2) == {"a": {"b": {"c": 1, "d": 2}}, "d": None}
    assert tree == {"a": {"b": {"c": 1}}, "d": None}
    # Lists are leaves.
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": [1, 2], "d": None}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        # Unknown fields, at every depth, with the nearest name; with all names if none is near.
        ({"titel": "x"}, "titel: unknown field. Did you mean 'title'?"),
        (
            {"zzz": 1},
            "zzz: unknown field. Known: mode, opacity, others, pages, shape, tags, title.",
        ),
        ({"shape": {"type": "disc", "radios": 1}}, "shape.radios: unknown field. Did you mean 'radius'?"),
        (
            {"others": [{"type": "disc"}, {"type": "box", "width": 1, "wide": 1}]},
            "others.1.wide: unknown field. Did you mean 'width'?",
        ),
        # Types.
        ({"shape": {"type": "disk"}}, "shape.type: unknown type 'disk'. Did you mean 'disc'?"),
        ({"shape": {"type": "zzz"}}, "shape.type: unknown type 'zzz'. Known: box, disc."),
        ({"shape": {"radius": 1}}, "shape.type: is required. Known: box, disc."),
        ({"others": [{"type": "bxo"}]}, "others.0.type: unknown type 'bxo'. Did you mean 'box'?"),
        # Values, with the rule.
        ({"title": 3}, "title: 3 is not allowed: give text, in quotes where it looks like something else."),
        ({"title": ""}, "title: '' is not allowed: give text that is not empty."),
        (
            {"opacity": 2},
            "opacity: 2 is not allowed: give a number of at least 0 and at most 1.",
        ),
        ({"opacity": math.nan}, "opacity: nan is not allowed: give a finite number of at least 0 and at most 1."),
        ({"mode": "colour"}, "mode: 'colour' is not allowed: give 'gray' or 'color'."),
        (
            {"shape": {"type": "disc", "radius": 0}},
            "shape.radius: 0 is not allowed: give a number above 0.",
        ),
        (
            {"shape": {"type": "disc", "radius": "wide"}},
            "shape.radius: 'wide' is not allowed: give a number above 0.",
        ),
        (
            {"shape": {"type": "box", "width": 1.5}},
            "shape.width: 1.5 is not allowed: give a whole number.",
        ),
        (
            {"shape": 3},
            "shape: 3 is not allowed: give a mapping, such as {type: box}.",
        ),
        ({"shape": "disc"}, "shape: 'disc' is not allowed: give a mapping, such as {type: disc}."),
        ({"tags": "new"}, "tags: 'new' is not allowed: give a list, such as [new]."),
        # A value that may be of several types is one mistake.
        ({"pages": [[1]]}, "pages.0: [1] is not allowed: give a number, text, true or false."),
        # One mistake in a list is one line.
        ({"tags": [1]}, "tags.0: 1 is not allowed: give text, in quotes where it looks like something else."),
        ({"tags": []}, "tags: [] is not allowed: give at least 1."),
        # A long value is cut.
        (
            {"mode": "x" * 100},
            f"mode: '{'x' * 76}... is not allowed: give 'gray' or 'color'.",
        ),
        # A required field is missing: what it means.
        ({"shape": {"type": "box"}}, "shape.width: is required, but missing. Side of the box."),
    ],
)
def test_mistakes_name_file_path_value_and_rule(tree: Tree, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(f'study.yaml: {message}')}$"):
        build(Picture, tree, "study.yaml")


def test_a_missing_component_is_explained_by_its_field() -> None:
    with pytest.raises(ConfigError, match=r"^x: picture: is required, but missing\. What hangs in it\.$"):
        build(Frame, {}, "x")


@pytest.mark.parametrize("tree", [None, 3, "x", ["title"]])
def test_what_is_no_mapping_is_refused(tree: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^x: \(top level\): {re.escape(repr(tree))} is not allowed: "):
        build(Picture, tree, "x")


def test_all_mistakes_are_told_at_once() -> None:
    tree = {"titel": "x", "opacity": -1, "shape": {"type": "disc", "radius": 0}}
    with pytest.raises(ConfigError) as caught:
        build(Picture, tree, "study.yaml")
    assert sorted(str(caught.value).splitlines()) == [
        "study.yaml: opacity: -1 is not allowed: give a number of at least 0 and at most 1.",
        "study.yaml: shape.radius: 0 is not allowed: give a number above 0.",
        "study.yaml: titel: unknown field. Did you mean 'title'?",
    ]


def test_the_newcomers_typo() -> None:
    fields = {"type": "cleanclip", "recipe": {"epochs": 1, "batch_size": 2, "learning_rate": 1e-3}}
    # The mistake of the README: a mistyped weight is answered with the right name.
    with pytest.raises(ConfigError, match=r"^x: in_modal_wieght: unknown field\. Did you mean 'in_modal_weight'"):
        build(CleanCLIP, fields | {"in_modal_wieght": 2}, "x")


def test_dump_and_build_are_inverse() -> None:
    picture = Picture(title="a", shape=Box(width=3), others=(Disc(radius=2.5), Box(width=1)), opacity=0.5)
    assert build(Picture, dump(picture), "x") == picture
    # The dump is plain JSON with every default filled in.
    assert dump(Picture()) == {
        "title": "untitled",
        "shape": {"type": "disc", "radius": 1.0},
        "others": [],
        "tags": ["new"],
        "opacity": None,
        "mode": "color",
        "pages": [],
    }


def test_fingerprint_depends_on_every_value_and_on_nothing_else() -> None:
    tree: Tree = {"a": {"b": 1.5, "c": [1, 2]}, "d": None, "e": "x"}
    same: Tree = {"e": "x", "d": None, "a": {"c": [1, 2], "b": 1.5}}
    # The order of keys does not matter.
    assert fingerprint(tree) == fingerprint(same)
    # Every change of a value, of a name or of the order of a list does.
    changed: list[Tree] = [
        {"a": {"b": 1.25, "c": [1, 2]}, "d": None, "e": "x"},
        {"a": {"b": 1.5, "c": [2, 1]}, "d": None, "e": "x"},
        {"a": {"b": 1.5, "c": [1, 2]}, "d": 0, "e": "x"},
        {"a": {"b": 1.5, "c": [1, 2]}, "d": None, "e": "X"},
        {"a": {"b": 1.5, "c": [1, 2]}, "d": None, "f": "x"},
        {"a": {"b": 1.5, "c": [1, 2]}, "e": "x"},
        {"a": {"b": 1.5}, "c": [1, 2], "d": None, "e": "x"},
    ]
    hashes = {fingerprint(value) for value in (tree, *changed)}
    assert len(hashes) == 1 + len(changed)
    # It is a name: 16 hexadecimal digits, the same on every machine.
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(tree))
    assert fingerprint({}) == "44136fa355b3678a"
    # What JSON cannot say has no fingerprint.
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint({"a": math.inf})


def test_fingerprint_of_a_component_does_not_depend_on_how_its_numbers_were_written() -> None:
    # `radius: 1` and `radius: 1.0` are the same experiment, and so is leaving out a default.
    trees: list[Tree] = [{"type": "disc", "radius": 1}, {"type": "disc", "radius": 1.0}, {"type": "disc"}]
    assert len({fingerprint(dump(build(Disc, tree, "x"))) for tree in trees}) == 1


def test_json_schema_describes_every_field() -> None:
    schema = config.json_schema(Picture)
    # Editors show the docstring under a field, and complete the types of a family.
    assert schema["properties"]["opacity"]["description"] == "None: whatever the printer does."
    assert set(schema["properties"]["shape"]["discriminator"]["mapping"]) == {"disc", "box"}
    # Unknown fields are mistakes for editors too.
    assert schema["additionalProperties"] is False
