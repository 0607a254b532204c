"""The page that describes the API, made from its own OpenAPI document; loads nothing."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from dicomnode.console.access import Person
from dicomnode.console.parts import Parts

_PROBLEMS = frozenset(("400", "401", "403", "422", "503"))
"""What every operation may answer, said once."""


def build_router(parts: Parts) -> APIRouter:
    """Build the route ``/api/docs``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/api/docs", response_class=HTMLResponse)
    def docs(request: Request, person: Annotated[Person, Depends(parts.access.viewer)]) -> Response:
        schema = request.app.openapi()
        return parts.pages.render(
            request,
            "api_docs.html",
            person,
            description=schema["info"]["description"],
            operations=_operations(schema),
            shapes=_shapes(schema),
        )

    return router


def _operations(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "verb": verb.upper(),
            "path": path,
            "anchor": operation["operationId"],
            "summary": operation.get("description", operation["summary"]),
            "parameters": [
                {
                    "name": each["name"],
                    "where": each["in"],
                    "required": each.get("required", False),
                    "type": _type(each["schema"]),
                    "words": each.get("description", ""),
                }
                for each in operation.get("parameters", ())
            ],
            "bodies": [
                (kind, _type(body["schema"]))
                for kind, body in operation.get("requestBody", {}).get("content", {}).items()
            ],
            "answers": [
                (status, answer["description"], _answer_type(answer))
                for status, answer in operation["responses"].items()
                if status not in _PROBLEMS
            ],
        }
        for path, verbs in schema["paths"].items()
        for verb, operation in verbs.items()
    ]


def _shapes(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "words": shape.get("description", "").partition("\n\n")[0],
            "fields": [
                (key, _type(each), each.get("description", ""))
                for key, each in shape.get("properties", {}).items()
            ],
        }
        for name, shape in schema["components"]["schemas"].items()
    ]


def _answer_type(answer: dict[str, Any]) -> str:
    for body in answer.get("content", {}).values():
        return _type(body.get("schema", {}))
    return ""


def _type(schema: dict[str, Any]) -> str:
    """Say the type of a JSON schema in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if choices := [_type(each) for each in schema.get("anyOf", ())] or schema.get("enum"):
        return " or ".join(map(str, choices))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'])}"
    return str(schema.get("title" if "properties" in schema else "format", kind))
