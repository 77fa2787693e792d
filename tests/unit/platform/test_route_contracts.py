"""What routes declare of themselves: their problems, the links of their pages, the language of their words."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Query

from cpro_contracts import problems
from cpro_contracts.problems import ProblemCode
from cpro_platform.auth import AdministratorOf
from cpro_platform.clock import SettableClock
from cpro_platform.errors import RefusedError
from cpro_platform.http import (
    ApiBook,
    Guidance,
    Language,
    Links,
    Page,
    UaiPath,
    create_app,
    decode_cursor,
    documented,
    encode_cursor,
)
from cpro_platform.http.declared_problems import UndeclaredProblemWarning
from cpro_platform.readiness import Readiness
from cpro_test_support.oidc_issuer import Issuer

SCHOOL = "0752387M"
GONE = ProblemCode("thing_gone", 404, "Chose disparue", "Thing gone")
GUIDE = {GONE: Guidance("Elle n'y est <plus>.", "It is gone.", "Cherchez-en une autre.", "Look for another.")}

router = APIRouter(prefix="/v1/establishments/{uai}", responses=documented(problems.ESTABLISHMENT_UNKNOWN))


@router.get("/things")
async def list_things(
    _: AdministratorOf,
    uai: UaiPath,
    links: Links,
    kind: str = "",
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1)] = 2,
) -> Page[int]:
    (after,) = decode_cursor(cursor, types=[int]) or (0,)
    numbers = [number for number in range(1, 6) if number > int(after)][: limit + 1]
    page = numbers[:limit]
    following = encode_cursor(page[-1]) if len(numbers) > limit else None
    return links.page(items=page, next_cursor=following)


@router.get("/things/{name}", responses=documented(GONE))
async def read_thing(_: AdministratorOf, uai: UaiPath, name: str, language: Language) -> str:
    if name == "gone":
        raise RefusedError(GONE)
    if name == "conflict":
        raise RefusedError(problems.PRECONDITION_FAILED)
    return {"fr": "une chose", "en": "a thing"}[language]


@pytest.fixture
def app() -> FastAPI:
    issuer = Issuer(SettableClock(datetime(2026, 9, 1, tzinfo=UTC)))
    app = create_app(
        title="CPro things",
        service="things",
        routers=[router],
        authenticator=issuer.authenticator(),
        readiness=Readiness(),
        book=ApiBook(problems=GUIDE),
    )
    app.state.token = issuer.token(uai=SCHOOL, roles=["administrator"])
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {app.state.token}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


def _operation(app: FastAPI, path: str) -> dict[str, dict[str, dict[str, dict[str, dict[str, str]]]]]:
    found: dict[str, dict[str, dict[str, dict[str, dict[str, str]]]]] = app.openapi()["paths"][path]["get"]["responses"]
    return found


def test_the_problems_of_a_route_those_of_its_router_and_those_of_the_border_are_all_declared(app: FastAPI) -> None:
    responses = _operation(app, "/v1/establishments/{uai}/things/{name}")

    declared = {
        status: set(response["content"]["application/problem+json"]["examples"])
        for status, response in responses.items()
        if "application/problem+json" in response.get("content", {})
    }
    assert declared == {
        "401": {"unauthenticated", "token_invalid"},
        "403": {"forbidden"},
        "404": {"thing_gone", "establishment_unknown"},
        "422": {"invalid_uai", "invalid_request"},
        "429": {"too_many_requests"},
        "500": {"internal_error"},
        "503": {"service_unavailable"},
    }


async def test_a_declared_problem_is_answered_and_its_type_leads_to_what_it_means(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/establishments/{SCHOOL}/things/gone")
    page = await client.get(answer.json()["type"])

    assert (answer.status_code, answer.json()["code"]) == (404, "thing_gone")
    assert page.status_code == 200
    assert f'<h2 id="{urlsplit(answer.json()["type"]).fragment}">404 thing_gone</h2>' in page.text
    assert "Elle n&#x27;y est &lt;plus&gt;. Cherchez-en une autre." in page.text
    assert "It is gone. Look for another." in page.text


async def test_a_problem_that_its_route_does_not_declare_is_a_warning(client: httpx.AsyncClient) -> None:
    with pytest.warns(UndeclaredProblemWarning, match=r"things/\{name\} answers precondition_failed"):
        answer = await client.get(f"/v1/establishments/{SCHOOL}/things/conflict")

    assert answer.status_code == 412


async def test_who_follows_the_links_sees_every_row_once_and_keeps_what_was_asked_for(
    client: httpx.AsyncClient,
) -> None:
    asked = f"/v1/establishments/{SCHOOL}/things?limit=2&kind=caf%C3%A9+%26+th%C3%A9%3E"
    address: str | None = asked
    seen: list[int] = []
    pages = 0
    while address:
        answer = await client.get(address)
        seen += answer.json()["items"]
        pages += 1
        assert answer.links["first"]["url"] == asked
        address = answer.links.get("next", {}).get("url")
        assert (address is None) == (answer.json()["next_cursor"] is None)
        if address:
            query = parse_qs(urlsplit(address).query)
            assert query == {"limit": ["2"], "kind": ["café & thé>"], "cursor": [answer.json()["next_cursor"]]}

    assert (seen, pages) == ([1, 2, 3, 4, 5], 3)


@pytest.mark.parametrize(("asked", "language", "words"), [("de", "fr", "une chose"), ("en-GB", "en", "a thing")])
async def test_words_are_answered_in_the_language_that_is_preferred_and_caches_are_told(
    client: httpx.AsyncClient, asked: str, language: str, words: str
) -> None:
    answer = await client.get(f"/v1/establishments/{SCHOOL}/things/any", headers={"Accept-Language": asked})

    assert answer.json() == words
    assert (answer.headers["Content-Language"], answer.headers["Vary"]) == (language, "Accept-Language")
