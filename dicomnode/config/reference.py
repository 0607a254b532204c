"""Every section and key that a configuration may have, as values: what references are made from.

Read from the JSON schema of the tree, so nothing is said here that the sections do not say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dicomnode.config.tree import Config

_NAME: Final = "NAME"
"""Stands for the name of a pipeline or destination in a path."""

_LONG: Final = 9999
"""Larger numbers are clearer without a decimal."""

_WORDS: Final = {"string": "text", "integer": "whole number", "boolean": "true or false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReference:
    """One key.

    Attributes
    ----------
    name : str
    kind : str
        What it takes, in words.
    default : str or None
        As TOML has it; None where the key is required.
    is_absent : bool
        Without the key there is nothing, rather than a default value.
    description : str
    """

    name: str
    kind: str
    default: str | None
    is_absent: bool
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionReference:
    """One table of the file.

    Attributes
    ----------
    path : str
        Dotted; ``NAME`` where the site gives a name, ``[]`` after a list of tables.
    variant : str
        Value of the key ``kind`` that the section goes with; empty where there is one kind only.
    description : str
    is_optional : bool
        What it stands for is off without it.
    keys : tuple of KeyReference
    """

    path: str
    variant: str
    description: str
    is_optional: bool
    keys: tuple[KeyReference, ...]


def sections() -> Iterator[SectionReference]:
    """Yield every section, the keys above all sections first."""
    schema = Config.model_json_schema()
    yield from _walk("", schema, schema["$defs"], is_optional=False)


def _walk(
    path: str,
    table: Mapping[str, Any],
    known: Mapping[str, Any],
    *,
    is_optional: bool,
    variant: str = "",
) -> Iterator[SectionReference]:
    required = table.get("required", ())
    variant = str(table["properties"].get("kind", {}).get("const", variant))
    keys: list[KeyReference] = []
    below: list[tuple[str, str, bool]] = []
    for name, entry in table["properties"].items():
        tables = list(_tables(entry))
        if not tables or entry.get("type") == "array":
            keys.append(_key(name, entry, is_required=name in required))
        below.extend(
            (f"{path}.{name}{suffix}".lstrip("."), target, _is_nullable(entry))
            for target, suffix in tables
        )
    yield SectionReference(
        path=path,
        variant=variant,
        description=str(table.get("description", "")),
        is_optional=is_optional,
        keys=tuple(keys),
    )
    for path_below, target, may_be_absent in below:
        yield from _walk(
            path_below, known[target], known, is_optional=may_be_absent, variant=variant
        )


def _tables(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the definitions that an entry refers to, and what follows its name in the path."""
    if "$ref" in entry:
        yield _target(entry), ""
    for each in entry.get("anyOf", ()):
        yield from _tables(each)
    if "$ref" in entry.get("items", {}):
        yield _target(entry["items"]), "[]"
    for pattern in entry.get("patternProperties", {}).values():
        if "$ref" in pattern:
            yield _target(pattern), f".{_NAME}"
        for each in pattern.get("oneOf", ()):
            yield _target(each), f".{_NAME}"


def _target(entry: Mapping[str, Any]) -> str:
    return str(entry["$ref"]).rpartition("/")[2]


def _is_nullable(entry: Mapping[str, Any]) -> bool:
    return any(each.get("type") == "null" for each in entry.get("anyOf", ()))


def _key(name: str, entry: Mapping[str, Any], *, is_required: bool) -> KeyReference:
    default = entry.get("default")
    return KeyReference(
        name=name,
        kind=_kind(entry),
        default=None if is_required else _toml(default),
        is_absent=not is_required and default is None,
        description=str(entry.get("description", "")),
    )


def _kind(entry: Mapping[str, Any]) -> str:
    """Say what a key takes: choices, or a type with its bounds."""
    choices = [each for each in entry.get("anyOf", ()) if each.get("type") != "null"]
    if choices:
        return " or ".join(_kind(each) for each in choices)
    if "const" in entry:
        return f'"{entry["const"]}"'
    if "enum" in entry:
        return ", ".join(f'"{each}"' for each in entry["enum"])
    if entry.get("type") == "array":
        items = entry.get("items", {})
        return "list of tables" if "$ref" in items else f"list of {_kind(items)}"
    if "additionalProperties" in entry and entry.get("type") == "object":
        return f"table of {_kind(entry['additionalProperties'])} by name"
    return _simple_kind(entry)


def _simple_kind(entry: Mapping[str, Any]) -> str:
    if entry.get("format") == "path":
        return "path"
    word = _WORDS.get(str(entry.get("type")), "number")
    bounds = [
        f"{words} {_toml(entry[bound])}"
        for bound, words in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
        )
        if bound in entry
    ]
    return " ".join([word, *bounds]).replace("from 0 to 65535", "0 to 65535")


def _toml(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) > _LONG:
        value = int(value)
    return "" if value is None else json.dumps(value, ensure_ascii=False)
