"""Families: what makes a class a member, and what a component is."""

import dataclasses
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from bdray.config import build, json_schema
from bdray.exceptions import ConfigError
from bdray.registry import Component, component


class Sound(Component):
    """A family for these tests."""

    members_package: ClassVar[str | None] = "bdray.text"  # any folder will do; its modules define no sounds

    @abstractmethod
    def play(self) -> str:
        """Make the sound."""


@component
class Bell(Sound):
    """A member."""

    type: Literal["bell"] = "bell"
    pitch: float = 440.0
    """In hertz."""

    def play(self) -> str:
        return f"ding at {self.pitch:g}"


@component
class Key:
    """A note."""

    name: str = "a"
    """As in scores."""


@component
class Loud(Sound):
    """An abstract class between the family and its members."""

    type: str
    volume: float = 1.0
    """1 is loud."""
    key: Key = Key()
    """What it is tuned to."""


def test_a_class_joins_its_family_by_being_defined() -> None:
    before = Sound.members()

    @component
    class Drum(Loud):
        type: Literal["drum"] = "drum"

        def play(self) -> str:
            return "boom"

    # The new member is there, by its type, beside those that were; abstract classes are no members.
    assert Sound.members() == {**before, "drum": Drum}
    assert before["bell"] is Bell
    assert Loud not in Sound.members().values()

    @component
    class Song:
        sound: Sound
        """What is heard."""

    # Wherever the family is a field, the new type is accepted, validated, built, and known to editors.
    song = build(Song, {"sound": {"type": "drum", "volume": 2}}, "x")
    assert song.sound == Drum(volume=2.0)
    assert song.sound.play() == "boom"
    assert set(json_schema(Song)["properties"]["sound"]["discriminator"]["mapping"]) >= {"bell", "drum"}
    # The family itself can be asked for.
    adapter: TypeAdapter[Any] = TypeAdapter(Sound)
    assert adapter.validate_python({"type": "bell", "pitch": 220}) == Bell(pitch=220.0)
    # An object of the right class passes as it is.
    assert build(Song, {"sound": Drum()}, "x").sound == Drum()


def test_inherited_fields_are_described() -> None:
    @component
    class Siren(Loud):
        """A member with fields of its own and of its parent's."""

        type: Literal["siren"] = "siren"
        turns: int = 3
        """How often."""

        def play(self) -> str:
            return "wee-oo"

    found = {name: field.get("description") for name, field in json_schema(Siren)["properties"].items()}
    # pydantic alone would lose the descriptions of the parent, or show the class's for a field that holds a component.
    assert found == {"type": None, "turns": "How often.", "volume": "1 is loud.", "key": "What it is tuned to."}


def test_a_member_without_a_type_is_our_mistake_not_the_users() -> None:
    class Noise(Component):
        members_package: ClassVar[str | None] = "bdray.text"

    @component
    class Hiss(Noise):
        level: float = 1.0
        """How loud."""

    with pytest.raises(TypeError, match=r'Hiss needs a field `type: Literal\["name"\] = "name"`\.$'):
        Noise.members()


def test_a_member_that_lacks_a_method_is_not_left_out_in_silence() -> None:
    class Signal(Component):
        members_package: ClassVar[str | None] = "bdray.text"

        @abstractmethod
        def send(self) -> str: ...

    @component
    class Flag(Signal):
        type: Literal["flag"] = "flag"

    with pytest.raises(ConfigError, match=r"test_registry\.py: Flag lacks send\. Write what is missing\.$"):
        Signal.members()


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("import math\n\n@component\nclass Whistle: ...\n", 3, "NameError: name 'component' is not defined"),
        ("class Whistle(:\n", 1, "SyntaxError: "),
        ("\nimport a_missing_library\n", 2, "ModuleNotFoundError: No module named 'a_missing_library'"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(
    text: str, line: int, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"sirens_{cause[:3].lower()}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "whistle.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    class Alarm(Component):
        members_package: ClassVar[str | None] = folder.name

    # One line for people: the file, its line, the cause; the traceback is there for whoever wants it.
    with pytest.raises(ConfigError) as caught:
        Alarm.members()
    assert str(caught.value).startswith(f"{folder / 'whistle.py'}, line {line}: cannot be imported ({cause}")
    assert f"`python -c 'import {folder.name}.whistle'`" in str(caught.value)
    assert type(caught.value.__cause__).__name__ == cause.split(":")[0]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"pich": 1.0}, "unexpected_keyword_argument"),  # unknown fields are refused
        ({"pitch": "high"}, "float_parsing"),  # and wrong values, in Python as in YAML
        ({"pitch": float("nan")}, "finite_number"),  # and numbers that are none
        ({"type": "drum"}, "literal_error"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], kind: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Bell(**arguments)
    assert [mistake["type"] for mistake in caught.value.errors()] == [kind]


def test_components_are_frozen_keyword_only_values() -> None:
    bell = Bell(pitch=220)
    # Fields cannot be changed, so a component may be shared, hashed and used as a default.
    with pytest.raises(dataclasses.FrozenInstanceError):
        bell.pitch = 1.0  # type: ignore[misc]
    assert bell == Bell(pitch=220.0)
    assert hash(bell) == hash(Bell(pitch=220.0))
    assert bell != Bell()
    # A value without its name says nothing to the reader.
    with pytest.raises(ValidationError, match="Unexpected positional argument"):
        Bell(220)  # type: ignore[call-arg, arg-type]
    assert dataclasses.replace(bell, pitch=1.0) == Bell(pitch=1.0)


def test_a_family_cannot_be_made_itself() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Sound()  # type: ignore[abstract]
