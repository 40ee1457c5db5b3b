"""What every registered component keeps, of whatever family: it can be made, described and written down."""

import dataclasses
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from bdray.attacks.triggers.base import Trigger
from bdray.config import build, dump, fingerprint, json_schema
from bdray.data.base import Dataset
from bdray.data.sources.base import PairSource
from bdray.data.tasks.base import TaskSource
from bdray.defenses.base import Defense
from bdray.evaluation.metrics.base import Metric
from bdray.pipeline.victims.base import Victim
from bdray.registry import Component
from bdray.testing import example
from bdray.text.base import TextAugmentation
from bdray.text.parsers.base import CaptionParser

FAMILIES: list[type[Component]] = [
    Trigger,
    Metric,
    Defense,
    Dataset,
    PairSource,
    TaskSource,
    TextAugmentation,
    CaptionParser,
    Victim,
]
MEMBERS = [
    pytest.param(family, name, member, id=f"{family.__name__}-{name}")
    for family in FAMILIES
    for name, member in family.members().items()
]
every_member = pytest.mark.parametrize(("family", "name", "member"), MEMBERS)


@every_member
def test_it_can_be_made_from_its_defaults(family: type[Component], name: str, member: type[Component]) -> None:
    # With small values for what has no default; and the name in a study file is the one in the code.
    component = example(member)
    assert isinstance(component, family)
    assert component.type == name
    # The name is fit for YAML, file names and tables.
    assert name.isidentifier()
    assert name == name.lower()


@every_member
def test_a_study_file_can_name_it(family: type[Component], name: str, member: type[Component]) -> None:
    component = example(member)
    tree = dump(component)
    # What is written down is read back as the same value, by its class and through its family.
    assert build(member, tree, "x") == component
    assert build(family, tree, "x") == component
    # So a stage's key is the same before and after, and a manifest says all that decides a result.
    assert fingerprint(dump(build(family, tree, "x"))) == fingerprint(tree)


@every_member
def test_every_field_is_described(family: type[Component], name: str, member: type[Component]) -> None:
    schema = json_schema(member)
    # Editors complete and explain: a sentence under every field and one for the class; unknown fields are refused.
    for field, entry in schema["properties"].items():
        if field != "type":
            assert entry.get("description", "").endswith("."), f"{member.__name__}.{field} needs a docstring under it"
    assert schema.get("description")
    assert schema["additionalProperties"] is False
    # The exported schema of the family knows the type.
    assert name in TypeAdapter(family).json_schema()["discriminator"]["mapping"]


@every_member
def test_it_is_a_frozen_value(family: type[Component], name: str, member: type[Component]) -> None:
    component = example(member)
    assert component == example(member)
    assert hash(component) == hash(example(member))
    # Fields cannot be set afterwards, unknown ones not at all.
    with pytest.raises(dataclasses.FrozenInstanceError):
        component.type = "other"
    with pytest.raises(ValidationError):
        arguments: dict[str, Any] = {"no_such_field": 1}
        member(**arguments)


def test_every_family_has_members() -> None:
    # A family whose folder is not found would pass all tests above by having none.
    assert all(len(family.members()) >= 1 for family in FAMILIES)
    assert {"badnet", "blended"} <= set(Trigger.members())
    assert {"finetune", "self_supervised", "cleanclip"} <= set(Defense.members())
