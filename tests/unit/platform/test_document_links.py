"""The OpenAPI document says where the id that an answer has brought leads."""

from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from cpro_platform.http import Page
from cpro_platform.http.document_links import add_links


class Thing(BaseModel):
    """Has an id."""

    id: UUID


class Count(BaseModel):
    """Has none."""

    number: int


@pytest.fixture
def links() -> dict[str, dict[str, Any]]:
    """The links of each operation's successful answer, by operation."""
    app = FastAPI()

    @app.post("/v1/schools/{uai}/things", status_code=202, operation_id="make")
    async def make(uai: str) -> Thing:
        raise NotImplementedError

    @app.get("/v1/schools/{uai}/things", operation_id="list")
    async def list_things(uai: str) -> Page[Thing]:
        raise NotImplementedError

    @app.get("/v1/schools/{uai}/things/{thing_id}", operation_id="read")
    async def read(uai: str, thing_id: UUID) -> Thing:
        raise NotImplementedError

    @app.put("/v1/schools/{uai}/things/{thing_id}", operation_id="change")
    async def change(uai: str, thing_id: UUID) -> Thing:
        raise NotImplementedError

    @app.post("/v1/schools/{uai}/things/{thing_id}/cancel", operation_id="cancel")
    async def cancel(uai: str, thing_id: UUID) -> Thing:
        raise NotImplementedError

    @app.get("/v1/schools/{uai}/counts", operation_id="count")
    async def count(uai: str) -> Count:
        raise NotImplementedError

    @app.get("/v1/schools/{uai}/counts/{kind}", operation_id="count_of_kind")
    async def count_of_kind(uai: str, kind: str) -> Count:
        raise NotImplementedError

    document = app.openapi()
    add_links(document)
    add_links(document)
    return {
        operation["operationId"]: answer.get("links", {})
        for methods in document["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if status.startswith("2")
    }


def to(operation: str, thing_id: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": {"thing_id": thing_id, "uai": "$request.path.uai"}}


def test_what_was_made_leads_to_all_that_can_be_done_with_it(links: dict[str, dict[str, Any]]) -> None:
    assert links["make"] == {name: to(name, "$response.body#/id") for name in ("read", "change", "cancel")}


def test_a_list_leads_to_the_first_that_is_on_it(links: dict[str, dict[str, Any]]) -> None:
    assert links["list"] == {name: to(name, "$response.body#/items/0/id") for name in ("read", "change", "cancel")}


def test_what_was_put_leads_to_reading_it(links: dict[str, dict[str, Any]]) -> None:
    assert links["change"] == {"read": to("read", "$request.path.thing_id")}


def test_an_answer_without_an_id_leads_nowhere(links: dict[str, dict[str, Any]]) -> None:
    assert links["count"] == {}
