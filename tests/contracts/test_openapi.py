"""The published OpenAPI documents are those of the code, valid, and complete: every answer is shown by an example."""

import copy
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.schemas import schema_v31

import cpro_contracts
import cpro_media
import cpro_platform
import cpro_settings
import cpro_siecle_import
import cpro_transfer
from cpro_contracts.problems import ProblemCode
from cpro_test_support import reference
from cpro_test_support.reference import OF_ALL, REFERENCE

DOCUMENT = reference.documents()[OF_ALL]
PROBLEM = "application/problem+json"
NO_ANSWER_OF_AN_OPERATION = {
    "method_not_allowed",  # there is no operation of that method
    "pupil_named_twice",  # told within `outcomes`, of one pupil of several
}
ENGLISH = re.compile(
    r"\b(the|of|is|are|what|which|with|and|where|when|from|by|not|it|this|that|how|to|for|an)\b", re.IGNORECASE
)


class Body(NamedTuple):
    """What an operation takes or answers in one media type."""

    operation: str
    status: str
    media_type: str
    content: dict[str, Any]


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, of_path in DOCUMENT["paths"].items():
        for method, operation in of_path.items():
            yield f"{method.upper()} {path}", operation


def bodies() -> Iterator[Body]:
    for name, operation in operations():
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            yield Body(name, "request", media_type, content)
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                yield Body(name, status, media_type, content)


def resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = DOCUMENT
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def test_the_committed_documents_are_those_of_the_code() -> None:
    committed = {
        str(path.relative_to(REFERENCE)): path.read_text(encoding="utf-8")
        for path in [*REFERENCE.glob("openapi/*"), REFERENCE / "problems.md"]
    }

    assert committed == reference.generated(), "run `make reference`"


def test_the_document_of_all_is_valid_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


@pytest.mark.parametrize("name", sorted(reference.documents().keys() - {OF_ALL}))
def test_the_document_of_each_service_is_valid_and_its_references_lead_somewhere(name: str) -> None:
    document = reference.documents()[name]

    assert [error.message for error in Draft202012Validator(schema_v31).iter_errors(document)] == []
    for target in _references(document):
        found = document
        for step in target.removeprefix("#/").split("/"):
            found = found[step]


def test_the_document_of_all_has_every_operation_of_every_service() -> None:
    own = [reference.operation_ids(reference.documents()[f"openapi/{name}.json"]) for name in reference.services()]

    assert reference.operation_ids(DOCUMENT) == {key: name for one in own for key, name in one.items()}


def test_every_operation_has_a_name_of_its_own_that_a_client_can_be_made_of() -> None:
    names = list(reference.operation_ids(DOCUMENT).values())

    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name)] == []


def test_a_published_operation_that_is_gone_or_renamed_is_not_written_over(tmp_path: Path) -> None:
    reference.write(tmp_path)
    published = json.loads((tmp_path / OF_ALL).read_text(encoding="utf-8"))
    published["paths"]["/v1/establishments/{uai}"]["get"]["operationId"] = "getSheet"
    published["paths"]["/v1/gone"] = {"get": {"operationId": "readGone"}}
    (tmp_path / OF_ALL).write_text(json.dumps(published), encoding="utf-8")

    with pytest.raises(reference.BrokenReferenceError) as refused:
        reference.write(tmp_path)

    assert str(refused.value).splitlines() == [
        "GET /v1/establishments/{uai} was getSheet, is readSheet",
        "GET /v1/gone was readGone, is gone",
    ]
    assert json.loads((tmp_path / OF_ALL).read_text(encoding="utf-8")) == published


def test_every_request_and_every_answer_with_a_body_is_shown_by_an_example() -> None:
    assert [body[:3] for body in bodies() if not body.content.get("examples")] == []


def test_every_example_is_as_its_schema_says_and_an_answer_leaves_no_field_out() -> None:
    wrong = []
    shown_once: set[str] = set()
    for body in bodies():
        if body.media_type == PROBLEM and body.content["examples"].keys() <= shown_once:
            continue
        shown_once |= body.content["examples"].keys() if body.media_type == PROBLEM else set()
        schema = _strict(body.content.get("schema", {}), complete=body.status != "request")
        validator = Draft202012Validator(schema, format_checker=FormatChecker())
        for name, example in body.content["examples"].items():
            errors = validator.iter_errors(resolved(example)["value"])
            wrong += [f"{body.operation} {body.status} {name}: {error.message}" for error in errors]

    assert wrong == []


def test_every_example_of_a_problem_is_of_its_code_and_status_and_leads_to_its_explanation() -> None:
    page = (REFERENCE / "problems.md").read_text(encoding="utf-8")
    anchors = set(re.findall(r"^## (\S+)$", page, re.MULTILINE))
    for body in bodies():
        if body.media_type == PROBLEM:
            for code, example in body.content["examples"].items():
                value = resolved(example)["value"]
                assert (value["code"], str(value["status"])) == (code, body.status)
                assert value["type"] == f"/docs/problems#{code}"
                assert code in anchors


def test_every_problem_of_the_code_is_explained_and_belongs_to_an_operation() -> None:
    explained = reference.guide()
    declared = _declared_problems()

    assert {code.code for code in declared} == {code.code for code in explained}
    assert {code.code for code in declared if not reference.operations_of(code, DOCUMENT)} == NO_ANSWER_OF_AN_OPERATION
    for guidance in explained.values():
        assert all((guidance.when_fr, guidance.when_en, guidance.todo_fr, guidance.todo_en))


def test_a_code_means_one_thing_in_all_services() -> None:
    codes = [code.code for code in _declared_problems()]

    assert sorted(codes) == sorted(set(codes))


def test_what_the_schools_users_read_is_french() -> None:
    english = {text for text in _texts(DOCUMENT) if ENGLISH.search(_prose(text))}

    assert english == set()


def test_every_parameter_and_every_schema_is_described() -> None:
    parameters = {
        f"{name}: {parameter['name']}"
        for name, operation in operations()
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    }
    schemas = {name for name, schema in DOCUMENT["components"]["schemas"].items() if not schema.get("description")}

    assert (parameters, schemas) == (set(), set())


def test_every_list_links_its_pages() -> None:
    lists = {name for name, operation in operations() if _is_page(operation)}
    linked = {name for name, operation in operations() if "Link" in _success(operation).get("headers", {})}

    assert len(lists) == 16
    assert linked == lists


def test_every_operation_that_answers_in_words_takes_the_language_and_tells_it() -> None:
    for name, operation in operations():
        takes = any(one["name"].lower() == "accept-language" for one in operation.get("parameters", []))
        tells = {"Content-Language", "Vary"} <= _success(operation).get("headers", {}).keys()
        assert takes == tells, name
        assert takes or not _has_words(operation), name


WORDS = {"explanation", "next_step", "sentence", "title", "summary", "consequences"}


def _has_words(operation: dict[str, Any]) -> bool:
    schemas = [content.get("schema", {}) for content in _success(operation).get("content", {}).values()]
    fields = {field for schema in schemas for field in _fields(schema, frozenset())}
    return bool(fields & WORDS)


def _fields(schema: Any, seen: frozenset[str]) -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from _fields(part, seen)
    if isinstance(schema, dict):
        target = schema.get("$ref")
        if target and target not in seen:
            yield from _fields(resolved(schema), seen | {target})
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from _fields(part, seen)


def _success(operation: dict[str, Any]) -> dict[str, Any]:
    return next(response for status, response in sorted(operation["responses"].items()) if status < "300")


def _is_page(operation: dict[str, Any]) -> bool:
    schema = _success(operation).get("content", {}).get("application/json", {}).get("schema", {})
    return {"items", "next_cursor"} <= set(resolved(schema).get("properties", {}))


def _strict(schema: Mapping[str, Any], *, complete: bool) -> dict[str, Any]:
    """The schema with all that it refers to, and no room for a field that nobody declared or, if complete, left out."""
    strict = copy.deepcopy(dict(schema))
    _close(strict, complete=complete)
    return {**strict, "components": _strict_components(complete=complete)}


@cache
def _strict_components(*, complete: bool) -> dict[str, Any]:
    schemas = copy.deepcopy(DOCUMENT["components"]["schemas"])
    # A problem has members of its code besides those of every problem.
    problem = schemas.pop("Problem")
    _close(schemas, complete=complete)
    return {"schemas": schemas | {"Problem": problem}}


def _close(part: Any, *, complete: bool) -> None:
    if isinstance(part, list):
        for element in part:
            _close(element, complete=complete)
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict) and part.get("type") == "object":
            part.setdefault("additionalProperties", False)
            if complete:
                part["required"] = sorted(part["properties"])
        for name, element in part.items():
            if name != "examples":
                _close(element, complete=complete)


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for element in part:
            yield from _references(element)
    elif isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for element in part.values():
            yield from _references(element)


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for element in part:
            yield from _texts(element)
    elif isinstance(part, dict):
        for name, element in part.items():
            if name in {"description", "summary"} and isinstance(element, str):
                yield element
            elif name not in {"examples", "openapi"}:
                yield from _texts(element)


def _prose(text: str) -> str:
    """Without what is quoted: codes and names are English."""
    return re.sub(r"`[^`]*`", "", text)


def _declared_problems() -> set[ProblemCode]:
    packages = (cpro_contracts, cpro_platform, cpro_settings, cpro_media, cpro_siecle_import, cpro_transfer)
    found: set[ProblemCode] = set()
    for package in packages:
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations." in info.name or info.name.endswith("__main__"):
                continue
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, ProblemCode):
                    found.add(value)
                elif isinstance(value, Mapping):
                    found |= {one for one in value.values() if isinstance(one, ProblemCode)}
    return found
