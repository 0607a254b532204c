"""The manifest reference as Markdown, made from the schema so that it cannot differ from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.schema.vocabulary import CodeTable

_BOUNDS: Final = {"gt": "above {}", "ge": "from {}", "lt": "below {}", "le": "to {}"}


def manifest_reference() -> str:
    """Return every table and key of a manifest, in the order a reader meets them."""
    parts: list[str] = []
    for path, table in _tables("", Manifest, set()):
        heading = f"`[{path}]`" if path else "Top level"
        parts.append(f"### {heading}\n\n{_first_line(table)}\n")
        rows = ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]
        rows += [_row(key, field) for key, field in table.model_fields.items()]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _tables(
    path: str, table: type[BaseModel], seen: set[type[BaseModel]]
) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, table
    for key, field in table.model_fields.items():
        for inner in _models(field.annotation):
            if inner in seen:
                continue
            seen.add(inner)
            name = "a code" if inner is CodeTable else f"{path}.{key}".lstrip(".")
            yield from _tables(name, inner, seen)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)


def _first_line(table: type[BaseModel]) -> str:
    return (table.__doc__ or "").strip().splitlines()[0]


def _row(key: str, field: FieldInfo) -> str:
    values = _values(field.annotation, field.metadata)
    meaning = field.description or ""
    cells = (f"`{key}`", values, _default(field), meaning)
    return f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    value = field.default
    if value is None or isinstance(value, BaseModel):
        return "absent"
    if isinstance(value, tuple):
        return f"`[{', '.join(_toml(each) for each in value)}]`"
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _values(annotation: Any, metadata: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        found = list(arguments[1:])
        extra = [each for info in found if isinstance(info, FieldInfo) for each in info.metadata]
        return _values(arguments[0], [*found, *extra, *metadata])
    if origin in (Union, UnionType):
        kinds = [each for each in arguments if each is not type(None)]
        return " or ".join(_values(each, metadata) for each in kinds)
    if origin is Literal:
        return ", ".join(f"`{_toml(each)}`" for each in arguments)
    if origin is tuple:
        many = len(arguments) == 2 and arguments[1] is Ellipsis
        return f"{'list' if many else len(arguments)} of {_values(arguments[0], [])}"
    return " ".join([_word(annotation), *_constraints(metadata)])


def _word(kind: type) -> str:
    if issubclass(kind, BaseModel):
        return "code" if kind is CodeTable else "table"
    return {str: "text", int: "integer", float: "number", bool: "`true`, `false`"}[kind]


def _constraints(metadata: list[Any]) -> Iterator[str]:
    for each in metadata:
        for name, words in _BOUNDS.items():
            bound = getattr(each, name, None)
            if bound is not None:
                yield words.format(bound)
        if isinstance(each, StringConstraints) and each.pattern:
            length = re.search(r"\{1,(\d+)\}\$$", str(each.pattern))
            yield f"of at most {length.group(1)}" if length else f"like `{each.pattern}`"
