"""The OpenAPI document that a service publishes: what FastAPI derives from the code, completed by the book
of the service.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from cpro_contracts.problems import ProblemCode
from cpro_platform.http.api_book import ApiBook, Examples, Guidance, Operation
from cpro_platform.http.declared_problems import MEDIA_TYPE
from cpro_platform.http.document_links import add_links
from cpro_platform.http.problem_page import complete_guide, type_of

API_VERSION = "1.0.0"
"""Of the documents. The paths carry the major one."""

_SCHEMAS = "#/components/schemas/"
_HEADERS: Mapping[str, str] = {
    "X-Request-Id": "Identifiant de la requête, à donner à l'assistance",
    "Content-Language": "Langue des textes de la réponse : `fr` ou `en`",
    "Vary": "Ce dont la réponse dépend : `Accept-Language`",
    "WWW-Authenticate": "Le schéma d'authentification attendu : `Bearer`",
    "Retry-After": "Délai avant de réessayer, en secondes",
    "Link": "Liens de pagination (RFC 8288) : `next` s'il y a une suite, `first`",
    "ETag": "Version de la ressource, à renvoyer dans `If-Match` ou `If-None-Match`",
    "Last-Modified": "Date de l'enregistrement",
    "Location": "Adresse de la ressource créée",
    "Content-Disposition": "Nom de fichier proposé",
    "Content-Range": "Les octets répondus et la taille totale",
    "Accept-Ranges": "`bytes` : des parties peuvent être demandées",
    "Idempotency-Replayed": "`true` si la réponse est celle d'un envoi précédent de la même clé",
}


_SHARED_LISTS: Mapping[str, str] = {
    # In more than one service: the same words, else one document of all would have two of each.
    "Reason": "Pourquoi des données attendent, sont retenues ou ne partiront pas. Une liste fermée.",
    "RosterSource": "Comment un établissement tient sa liste d'élèves.",
}

_SHARED_PARAMETERS: Mapping[str, str] = {
    "cursor": "Le `next_cursor` de la page précédente",
    "limit": "Nombre d'éléments par page, au plus",
}


def extend_document(app: FastAPI, book: ApiBook, problem: type[BaseModel]) -> None:
    """Make `app.openapi()` answer the completed document. `problem` is the model of every problem."""
    generate: Callable[[], dict[str, Any]] = app.openapi

    def completed() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(generate(), book, problem)
            add_links(app.openapi_schema)
        return app.openapi_schema

    app.openapi = completed  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def example_of(code: ProblemCode, guidance: Guidance) -> dict[str, Any]:
    """A problem as it is answered in French."""
    return {
        "type": type_of(code),
        "title": code.title_fr,
        "status": code.status,
        "detail": guidance.todo_fr,
        "code": code.code,
        "request_id": "5f0c7f0e6f5b4f0f9d3f5a1c2b3d4e5f",
        **guidance.members,
    }


def _completed(document: dict[str, Any], book: ApiBook, problem: type[BaseModel]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    _add_problem_schema(components.setdefault("schemas", {}), problem)
    _drop_titles(components["schemas"])
    for name, schema in components["schemas"].items():
        if name.startswith("Page_"):
            schema.setdefault("description", "Une page d'une liste.")
    for name, words in {**_SHARED_LISTS, **book.closed_lists}.items():
        if name in components["schemas"]:
            components["schemas"][name]["description"] = words
    new_ids: dict[str, str] = {}
    named: set[str] = set()
    for path, operations in document["paths"].items():
        for method, described in operations.items():
            _drop_titles(described.get("parameters", []))
            _describe_parameters(described.get("parameters", []), {**_SHARED_PARAMETERS, **book.parameters})
            known = book.operations.get(f"{method.upper()} {path}")
            if known is not None:
                new_ids[described["operationId"]] = known.id
                _describe(described, known)
            for status, response in described["responses"].items():
                _add_usual_headers(response, status)
                named |= response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}).keys()
    _rename_in_links(document["paths"], new_ids)
    components["headers"] = {
        name: {"description": words, "schema": {"type": "string"}} for name, words in _HEADERS.items()
    }
    components["examples"] = {
        code.code: {"summary": code.title_fr, "value": example_of(code, guidance)}
        for code, guidance in complete_guide(book.problems).items()
        if code.code in named
    }
    if book.tags:
        document["tags"] = [{"name": name, "description": words} for name, words in book.tags.items()]
    return document


def _describe_parameters(parameters: list[dict[str, Any]], words: Mapping[str, str]) -> None:
    for parameter in parameters:
        if parameter["name"] in words:
            parameter.setdefault("description", words[parameter["name"]])


def _describe(described: dict[str, Any], known: Operation) -> None:
    described["operationId"] = known.id
    described["summary"] = known.summary
    _add_examples(described.get("requestBody", {}), known.request)
    for status, answer in known.answers.items():
        response = described["responses"][str(status)]
        response["description"] = answer.description
        _add_examples(response, answer.examples)
        _add_headers(response, answer.headers)


def _add_examples(holder: dict[str, Any], examples: Examples) -> None:
    for media_type, named in examples.items():
        if holder["content"][media_type].pop("itemSchema", None):
            # A keyword of OpenAPI 3.2, which FastAPI writes into documents of 3.1. There a stream has no schema: some
            # tools take one for that of the whole text, others for that of each event.
            holder["content"][media_type].pop("schema", None)
        holder["content"][media_type]["examples"] = {name: {"value": value} for name, value in named.items()}


def _add_usual_headers(response: dict[str, Any], status: str) -> None:
    _add_headers(response, ("X-Request-Id",))
    if MEDIA_TYPE in response.get("content", {}):
        of_status = {"401": ("WWW-Authenticate",), "429": ("Retry-After",), "503": ("Retry-After",)}
        _add_headers(response, ("Content-Language", "Vary", *of_status.get(status, ())))


def _add_headers(response: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        response.setdefault("headers", {})[name] = {"$ref": f"#/components/headers/{name}"}


def _rename_in_links(paths: dict[str, Any], new_ids: Mapping[str, str]) -> None:
    """Links go by the id of an operation, which the code knows as FastAPI makes it."""
    for operations in paths.values():
        for described in operations.values():
            for response in described["responses"].values():
                for link in response.get("links", {}).values():
                    if "operationId" in link:
                        link["operationId"] = new_ids.get(link["operationId"], link["operationId"])


def _add_problem_schema(schemas: dict[str, Any], problem: type[BaseModel]) -> None:
    if problem.__name__ not in schemas:
        described = problem.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}")
        schemas.update(described.pop("$defs", {}))
        schemas[problem.__name__] = described


def _drop_titles(part: Any) -> None:
    """Titles that pydantic makes of field names say nothing that the name does not."""
    if isinstance(part, dict):
        if isinstance(part.get("title"), str) and part.keys() & {"type", "anyOf", "allOf", "oneOf", "$ref", "enum"}:
            del part["title"]
        for name, value in part.items():
            if name != "examples":
                _drop_titles(value)
    elif isinstance(part, list):
        for value in part:
            _drop_titles(value)
