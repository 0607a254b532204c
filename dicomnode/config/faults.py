"""Says what pydantic found wrong in a person's words, by dotted path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dicomnode.config.tree import Config

_PASSWORD: Final = re.compile(r"//[^/\s]+@")


def describe_faults(error: ValidationError) -> Iterator[str]:
    """Yield a line for each fault; none for a list that is at fault by an element only."""
    errors = error.errors(include_url=False)
    locations = [each["loc"] for each in errors]
    for each in errors:
        loc = each["loc"]
        if any(len(other) > len(loc) and other[: len(loc)] == loc for other in locations):
            continue  # "too short" of a list whose element is at fault is noise
        path, model = _descend(loc)
        dotted = ".".join(path)
        if each["type"] == "extra_forbidden":
            known = model.model_fields if model is not None else ()
            yield f"{dotted}: no such key{nearest(path[-1], known)}"
        elif each["type"] == "missing":
            yield f"{dotted}: is required"
        elif each["type"] == "union_tag_not_found":
            yield f"{dotted}.kind: is required"
        elif each["type"] == "union_tag_invalid":
            context = each["ctx"]
            wanted = context["expected_tags"].replace(", ", " or ")
            yield f"{dotted}.kind: wanted {wanted}, found {context['tag']!r}"
        else:
            message = each["msg"].removeprefix("Value error, ")
            found = "" if isinstance(each["input"], Mapping) else f", found {each['input']!r}"
            yield f"{dotted}: {message[0].lower()}{message[1:]}{_PASSWORD.sub('//...@', found)}"


def _descend(loc: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """Follow a pydantic location; drop union tags; return the model that holds its last key."""
    path: list[str] = []
    kind: Any = Config
    model: type[BaseModel] | None = None
    for part in loc:
        if part == "[key]":  # the fault is in the name itself
            continue
        if isinstance(kind, dict):  # a union by tag: the part is the tag, not a key
            kind = kind.get(str(part))
            continue
        path.append(str(part))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
            field = kind.model_fields.get(str(part))
            kind = _unwrap(field.annotation) if field is not None else None
        elif isinstance(kind, tuple):
            kind = _unwrap(kind[0])
    return path, model


def _unwrap(annotation: Any) -> Any:
    """Return a model, ``(element,)`` of a container, or ``{tag: model}`` of a union by tag."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (dict, tuple):
        return (arguments[1] if origin is dict else arguments[0],)
    models = [each for each in arguments if isinstance(each, type) and issubclass(each, BaseModel)]
    if len(models) > 1:
        return {get_args(each.model_fields["kind"].annotation)[0]: each for each in models}
    return annotation


def nearest(key: str, known: Any) -> str:
    """Return a question after the nearest known name, or nothing."""
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
