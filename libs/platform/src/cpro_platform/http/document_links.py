"""Links in the OpenAPI document: what a caller can do with the id that an answer has brought.

They follow from the paths. What is created or listed at `/v1/things` is found, and acted upon, at `/v1/things/{id}` and
below; what is PUT at a path is read and deleted there. Who reads the document sees what leads where, and a tool can
walk along it: create, act, read again.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_PARAMETER = re.compile(r"\{(\w+)\}")
_FIRST_OF_A_PAGE = "$response.body#/items/0/id"
_THE_ONE = "$response.body#/id"

Operation = dict[str, Any]


def add_links(document: dict[str, Any]) -> None:
    """Write links into every answer that has an id which other operations take. Safe to repeat."""
    paths: dict[str, dict[str, Operation]] = document["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            for answer in _successes(operation):
                links = dict(_below(document, paths, path, answer))
                if method == "put":
                    links |= dict(_beside(path, methods))
                if links:
                    answer["links"] = links


def _successes(operation: Operation) -> Iterator[dict[str, Any]]:
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            yield answer


def _below(
    document: Mapping[str, Any], paths: Mapping[str, Mapping[str, Operation]], path: str, answer: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """To what lies below a path under the id of what it has answered."""
    where = _id_in(document, answer)
    if where is None:
        return
    for lower, methods in paths.items():
        first = _PARAMETER.match(lower.removeprefix(f"{path}/")) if lower.startswith(f"{path}/") else None
        if first:
            for operation in methods.values():
                yield _link(operation, {first[1]: where} | _same(path))


def _beside(path: str, methods: Mapping[str, Operation]) -> Iterator[tuple[str, dict[str, Any]]]:
    """To the other things that can be done with what was PUT."""
    for method, operation in methods.items():
        if method != "put":
            yield _link(operation, _same(path))


def _same(path: str) -> dict[str, str]:
    return {name: f"$request.path.{name}" for name in _PARAMETER.findall(path)}


def _link(operation: Operation, parameters: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    return operation["operationId"], {"operationId": operation["operationId"], "parameters": dict(parameters)}


def _id_in(document: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
    """Where an answer has the id: its own, or the first one's of a page."""
    schema = _resolved(document, answer.get("content", {}).get("application/json", {}).get("schema", {}))
    properties = schema.get("properties", {})
    if "id" in properties:
        return _THE_ONE
    items = _resolved(document, properties.get("items", {}).get("items", {}))
    return _FIRST_OF_A_PAGE if "id" in items.get("properties", {}) else None


def _resolved(document: Mapping[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
    return found
