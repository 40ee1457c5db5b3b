"""From YAML and overrides to validated values, with errors that name file, field, value and rule.

YAML is read by OmegaConf (no arbitrary objects, ``1e-3`` is a number, duplicate keys are refused, ``${...}`` is not
resolved, so that nothing of the environment gets into a configuration) and validated once by pydantic into frozen
components. A file may start with ``base: NAME``: the named file is read first and this one is merged over it.
"""

import ast
import difflib
import hashlib
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DataclassSchema

from bdray.exceptions import ConfigError

T = TypeVar("T")
Tree = dict[str, Any]
Location = Sequence[int | str]
"""Of a field in a tree, step by step; a key may hold dots, as those of a study's axes do."""
COMMAND_LINE = "command line"
"""Source of what no file says."""
UNION = re.compile(r"bool|int|float|str|tuple\[.*")
"""Steps that pydantic adds to a location for each of the types that a value may have."""
NUMBERS = {
    *("int_type", "int_parsing", "int_parsing_size", "int_from_float", "float_type", "float_parsing", "finite_number"),
    *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
}
"""pydantic's mistakes that a number of the right kind and size mends."""
LIMITS = {
    "at least": ("minimum", "ge"),
    "above": ("exclusiveMinimum", "gt"),
    "at most": ("maximum", "le"),
    "below": ("exclusiveMaximum", "lt"),
}
"""What JSON Schema and pydantic call the bounds of a number."""
RULES = {
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
    "string_type": "give text, in quotes where it looks like something else",
    "string_too_short": "give text that is not empty",
    "string_pattern_mismatch": "give text that matches {pattern}",
    "literal_error": "give {expected}",
    "path_type": "give a path",
    "tuple_type": "give a list, such as [{value}]",
    "dict_type": "give a mapping, such as {{name: value}}",
    "too_short": "give at least {min_length}",
    "too_long": "give at most {max_length}",
    "union": "give a number, text, true or false",
}
"""What mends pydantic's other mistakes."""


def read_yaml(path: Path) -> Tree:
    """Read one YAML file into a plain tree.

    Raises:
        ConfigError: If the file is missing, is not YAML, repeats a key, or does not hold a mapping.
    """
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file.") from error
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML. {_one_line(error)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold a mapping of fields, but holds {_kind(tree)}.")
    return {str(key): value for key, value in tree.items()}


def read_overrides(overrides: Sequence[str]) -> Tree:
    """Turn dotted ``key=value`` words into a tree; values follow YAML's rules (``1e-3``, ``[1, 2]``, ``null``).

    Raises:
        ConfigError: If a word has no ``=`` or its value is not YAML.
    """
    tree: Tree = {}
    for word in overrides:
        key, equals, _ = word.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"override {word!r}: must look like FIELD=VALUE, for example defense.in_modal_weight=2.")
        try:
            parsed = OmegaConf.to_container(OmegaConf.from_dotlist([word]))
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            raise ConfigError(f"override {word!r}: the value is not YAML. {_one_line(error)}") from error
        tree = merge(tree, parsed)
    return tree


def merge(below: Mapping[str, Any], above: Any, cls: Any = None) -> Tree:
    """Lay the tree ``above`` over ``below``, key by key.

    A component whose ``type`` changes starts afresh, for the fields of the old type mean nothing to the new one.

    Args:
        below: Tree of fields.
        above: Fields that win.
        cls: The component class that the tree describes, if known: then a component whose ``type`` changes keeps the
            fields that all members of its family have, such as a defense's recipe.
    """
    merged = dict(below)
    for key, value in above.items():
        old, inner = merged.get(key), _component_of(cls, key)
        if not isinstance(value, Mapping):
            merged[key] = value
        elif not isinstance(old, Mapping):
            merged[key] = merge({}, value, inner)
        elif _is_same_type(old, value, inner):
            merged[key] = merge(old, value, inner)
        else:
            shared = getattr(inner, "__dataclass_fields__", {}).keys() - {"type"}
            merged[key] = merge({name: part for name, part in old.items() if name in shared}, value, inner)
    return merged


def _is_same_type(old: Mapping[str, Any], new: Mapping[str, Any], cls: Any) -> bool:
    """Whether two trees of one component describe the same member of its family."""
    before = old.get("type", getattr(cls, "default_type", None) or new.get("type"))
    return bool(new.get("type", before) == before)


def _component_of(cls: Any, field: str) -> Any:
    """The component class of a field, or None where the field is not known or not a component."""
    known = getattr(cls, "__dataclass_fields__", {}).get(field)
    options = (known.type, *get_args(known.type)) if known else ()
    return next((option for option in options if hasattr(option, "__dataclass_fields__")), None)


def get_dotted(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None if the path is not there."""
    value: Any = tree
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def set_dotted(tree: Mapping[str, Any], path: str, value: Any, cls: Any = None) -> Tree:
    """A copy of ``tree`` with ``value`` at a dotted path; ``cls`` as in :func:`merge`."""
    nested: Any = value
    for part in reversed(path.split(".")):
        nested = {part: nested}
    return merge(tree, nested, cls)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Tree:
    """The leaves of a tree by dotted path; lists are leaves."""
    flat: Tree = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def source_of(location: Location, told: Mapping[str, Any], source: str) -> str:
    """Who said what stands at a location: the command line, if the fields that it told reach there, else ``source``.

    A component whose type it told starts afresh, so what is missing there is its mistake, too.
    """
    node: Any = told
    for step in location:
        if not isinstance(node, Mapping):
            break  # inside a list, which was told as a whole
        if step not in node:
            return COMMAND_LINE if "type" in node else source
        node = node[step]
    return COMMAND_LINE if location else source


def build(cls: type[T], tree: Mapping[str, Any], source: str | Callable[[Location], str]) -> T:
    """Validate a tree into ``cls``.

    Args:
        cls: A component class.
        tree: Fields, as read from YAML.
        source: Where the tree came from, for the message (a file name, say), or where what stands at a location did.

    Raises:
        ConfigError: With one line for each mistake: dotted path, value, rule, and the nearest known name.
    """
    try:
        return TypeAdapter(cls).validate_python(tree)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        # A list whose items are wrong is also "too short" to pydantic, which drops those items before it counts.
        spoiled = {mistake["loc"][:end] for mistake in mistakes for end in range(len(mistake["loc"]))}
        lines = [
            _explain(cls, mistake, source)
            for mistake in mistakes
            if not (mistake["type"] == "too_short" and mistake["loc"] in spoiled)
        ]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def dump(value: Any) -> Any:
    """The plain JSON tree of a component, with all defaults filled in."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def fingerprint(value: Any) -> str:
    """A 16-digit hexadecimal hash of a plain JSON tree, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def json_schema(cls: type[Any]) -> Tree:
    """JSON Schema of a component, so that editors complete and check YAML."""
    return TypeAdapter(cls).json_schema(schema_generator=_Described)


class _Described(GenerateJsonSchema):
    """Adds what is written under the fields of a class and of those that it inherits from.

    pydantic can do that by itself, but does it for every class that it meets, and parses all sources at every start.
    """

    def dataclass_schema(self, schema: DataclassSchema) -> Tree:
        described = super().dataclass_schema(schema)
        for base in schema["cls"].__mro__:
            for name, text in _docstrings(base).items():
                if name in described["properties"]:
                    described["properties"][name].setdefault("description", text)
        return described


@cache
def _docstrings(cls: type) -> dict[str, str]:
    """What is written under the fields of a class."""
    if "__dataclass_fields__" not in vars(cls):
        return {}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in itertools.pairwise(tree.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the nearest known names, or all of them if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    if near:
        return "Did you mean " + " or ".join(repr(found) for found in near) + "?"
    return "Known: " + ", ".join(names) + "." if names else "None is known."


def _explain(cls: type[Any], mistake: Any, source: str | Callable[[Location], str]) -> str:
    """One validation mistake as one sentence."""
    schema, kind, value = json_schema(cls), mistake["type"], mistake["input"]
    location = [step for step in mistake["loc"] if not UNION.fullmatch(str(step))]
    if len(location) < len(mistake["loc"]):
        kind = "union"  # each of whose types has its own mistake; all of them become the same sentence
    node, path = _walk(schema, location)
    where = source if isinstance(source, str) else source(path)
    name = f"{where}: {'.'.join(path) or '(top level)'}"
    if kind == "unexpected_keyword_argument":
        parent, _ = _walk(schema, location[:-1])
        return f"{name}: unknown field. {did_you_mean(path[-1], parent.get('properties', {}))}"
    if kind == "missing":
        return f"{name}: is required, but missing. {node.get('description', '')}".rstrip()
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        known = node.get("discriminator", {}).get("mapping", {})
        if kind == "union_tag_not_found":
            return f"{name}.type: is required. {did_you_mean('', known)}"
        tag = str(mistake["ctx"]["tag"])
        return f"{name}.type: unknown type {tag!r}. {did_you_mean(tag, known)}"
    return f"{name}: {_show(value)} is not allowed: {_rule(kind, node, mistake)}."


def _rule(kind: str, node: Tree, mistake: Any) -> str:
    """What to give instead, in words that need no knowledge of Python."""
    context, value = mistake.get("ctx", {}), mistake["input"]
    if kind in NUMBERS:
        whole = node.get("type") == "integer" or kind.startswith("int_")
        adjective = "whole " if whole else "finite " if kind == "finite_number" else ""
        limits = {words: node.get(key, context.get(short)) for words, (key, short) in LIMITS.items()}
        bounds = " and ".join(f"{words} {limit:.12g}" for words, limit in limits.items() if limit is not None)
        return f"give a {adjective}number {'of ' if bounds.startswith('at') else ''}{bounds}".rstrip()
    if kind in ("model_attributes_type", "dataclass_type"):
        types = list(node.get("discriminator", {}).get("mapping", {}))
        if types:
            return f"give a mapping, such as {{type: {value if value in types else types[0]}}}"
        return f"give a mapping of its fields, {', '.join(sorted(node.get('properties', {})))}"
    if kind in RULES:
        return RULES[kind].format(value=value, **context)
    rule = mistake["msg"].removeprefix("Value error, ").removesuffix(".")
    return str(rule[0].lower() + rule[1:])


def _walk(schema: Tree, location: Location) -> tuple[Tree, list[str]]:
    """Follow a pydantic error location through the JSON schema, dropping the union tags it contains."""
    node: Tree = _resolve(schema, schema)
    path: list[str] = []
    for step in location:
        mapping = node.get("discriminator", {}).get("mapping")
        if mapping and step in mapping:
            node = _resolve(schema, {"$ref": mapping[step]})
            continue
        path.append(str(step))
        if isinstance(step, int):
            node = _resolve(schema, node.get("items", {}))
        else:
            node = _resolve(schema, node.get("properties", {}).get(step, node.get("additionalProperties") or {}))
    return node, path


def _resolve(schema: Tree, node: Any) -> Tree:
    """Follow references and optional wrappers to the node that has the properties."""
    if not isinstance(node, dict):
        return {}
    if "$ref" in node:
        found = _resolve(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
        return found | {k: v for k, v in node.items() if k == "description"}
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            return _resolve(schema, option) | {k: v for k, v in node.items() if k == "description"}
    return node


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
