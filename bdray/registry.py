"""Families of components: a folder of classes, one of which a configuration names by ``type``.

A family is a base class that inherits :class:`Component` directly; its members are the subclasses
found in the package beside it. Adding a member is adding a file:

>>> @component
... class Solid(Trigger):
...     type: Literal["solid"] = "solid"
...     level: float = 1.0

Wherever a configuration class has a field annotated with the family, pydantic then accepts the new
``type``, validates its fields and exports its JSON schema.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import traceback
from abc import ABC
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, TypeAlias, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, GetCoreSchemaHandler
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, core_schema

from bdray.exceptions import BdrayError, ConfigError

T = TypeVar("T")
Members: TypeAlias = "dict[str, type[Component]]"
"""Classes by their ``type``. Out here, because inside :class:`Component` that word is a field."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def component(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen, keyword-only, validated value that refuses unknown fields."""
    is_family = Component in cls.__bases__  # its members are not imported yet, so its schema must wait
    config = ConfigDict(extra="forbid", allow_inf_nan=False, defer_build=is_family)
    return cast("type[T]", dataclass(frozen=True, kw_only=True, config=config)(cls))


class Component(ABC):
    """Base of every family. ``type`` tells the members of a family apart in configurations."""

    type: str
    members_package: ClassVar[str | None] = None
    """Package whose modules define the members; by default the one that holds the family's module."""
    default_type: ClassVar[str | None] = None
    """The member that is meant where a configuration names none; None: it has to name one."""

    @classmethod
    def is_family(cls) -> bool:
        """Whether this class is a family rather than a member of one."""
        return Component in cls.__bases__

    @classmethod
    def members(cls) -> Members:
        """Every concrete member of this family by its ``type``, importing the family's folder first.

        Raises:
            ConfigError: If a file in there cannot be imported, or a member lacks methods; says where and what.
        """
        package = importlib.import_module(cls.members_package or cls.__module__.rpartition(".")[0])
        for module in pkgutil.iter_modules(package.__path__):
            _import(f"{package.__name__}.{module.name}")
        found: Members = {}
        for member in _subclasses(cls):
            name = getattr(member, "type", None)
            if inspect.isabstract(member):
                if isinstance(name, str):  # whoever names a type means a member
                    missing = ", ".join(sorted(member.__abstractmethods__))
                    raise ConfigError(f"{_home(member)}: {member.__name__} lacks {missing}. Write what is missing.")
                continue
            if not isinstance(name, str):
                msg = f'{member.__module__}.{member.__name__} needs a field `type: Literal["name"] = "name"`.'
                raise TypeError(msg)
            found[name] = member
        return dict(sorted(found.items()))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if not cls.is_family():
            return handler(source)
        choices = {name: handler.generate_schema(member) for name, member in cls.members().items()}
        union = core_schema.tagged_union_schema(choices, discriminator="type", from_attributes=True)
        if cls.default_type is None:
            return union
        return core_schema.no_info_before_validator_function(partial(_with_type, cls.default_type), union)


def _import(name: str) -> None:
    """Import a file that may be anybody's: a new member's, on its author's first try."""
    try:
        importlib.import_module(name)
    except BdrayError:
        raise  # another family's file, on the way here
    except Exception as error:
        raise ConfigError(
            f"{_place(name, error)}: cannot be imported ({type(error).__name__}: {' '.join(str(error).split())}). "
            f"Mend it, or move it out of its folder; `python -c 'import {name}'` shows the traceback."
        ) from error


def _place(name: str, error: Exception) -> str:
    """The file of a module, and the last line of it that was reached, where there is one."""
    spec = importlib.util.find_spec(name)
    path = (spec and spec.origin) or name
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}, line {lines[-1]}" if lines else path


def _home(member: type) -> str:
    """The file of a class."""
    return inspect.getsourcefile(member) or member.__module__


def _with_type(default: str, value: Any) -> Any:
    return {"type": default, **value} if isinstance(value, Mapping) else value


def _subclasses(cls: type[T]) -> list[type[T]]:
    return [found for direct in cls.__subclasses__() for found in (direct, *_subclasses(direct))]
