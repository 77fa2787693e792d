from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import httpx
import psycopg
import pytest
from fastapi import APIRouter, FastAPI, Query, Request
from pydantic import BaseModel, Field, create_model
from structlog.testing import capture_logs

from cpro_contracts import problems
from cpro_platform.auth import AdministratorOf, Support
from cpro_platform.clock import SettableClock
from cpro_platform.errors import RefusedError, RetryableError
from cpro_platform.http import (
    IfMatch,
    Page,
    UaiPath,
    UnguardedRouteError,
    combine,
    create_app,
    decode_cursor,
    documented,
    encode_cursor,
    require_match,
)
from cpro_platform.readiness import Readiness
from cpro_test_support.oidc_issuer import Issuer

SCHOOL = "0752387M"


class Pupils(BaseModel):
    count: int = Field(ge=0)
    label: str = Field(max_length=5)


router = APIRouter(prefix="/v1/establishments/{uai}")


@router.get("/things")
async def read_things(_: AdministratorOf, uai: UaiPath, limit: Annotated[int, Query(le=100)] = 10) -> dict[str, object]:
    return {"uai": uai, "limit": limit}


@router.put("/things", responses=documented(problems.PRECONDITION_FAILED, problems.PRECONDITION_REQUIRED))
async def write_things(_: AdministratorOf, uai: UaiPath, body: Pupils, if_match: IfMatch = None) -> Pupils:
    require_match(if_match, '"3"')
    return body


@router.put("/upload", max_body_size=3_000_000)
async def upload(_: AdministratorOf, uai: UaiPath, request: Request) -> int:
    return len(await request.body())


@router.get("/failing/{how}", responses=documented(problems.NOT_FOUND))
async def fail(_: AdministratorOf, uai: UaiPath, how: str) -> None:
    raise {
        "refused": RefusedError(problems.NOT_FOUND, "Rien ici.", "Nothing here.", ticket="T-1"),
        "away": RetryableError("the database"),
        "database": psycopg.OperationalError("connection to 10.0.0.1 lost"),
        "bug": ValueError("INE 1234567890A of Camille"),
    }[how]


support_router = APIRouter(prefix="/v1/support")


@support_router.get("/cases")
async def read_cases(_: Support) -> Page[int]:
    return Page(items=[1], next_cursor=encode_cursor(1))


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(SettableClock(datetime(2026, 9, 1, 8, tzinfo=UTC)))


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


def an_app(issuer: Issuer, readiness: Readiness, *routers: APIRouter, title: str = "Test") -> FastAPI:
    return create_app(
        title=title, service="test", routers=routers, authenticator=issuer.authenticator(), readiness=readiness
    )


@pytest.fixture
async def client(issuer: Issuer, readiness: Readiness) -> AsyncIterator[httpx.AsyncClient]:
    app = an_app(issuer, readiness, router, support_router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        client.headers["Authorization"] = f"Bearer {issuer.token(uai=SCHOOL)}"
        yield client


async def test_an_administrator_reaches_their_own_establishment(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/establishments/{SCHOOL.lower()}/things")

    assert (answer.status_code, answer.json()) == (200, {"uai": SCHOOL, "limit": 10})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


async def test_another_establishment_is_denied(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/establishments/0750680G/things")

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Accès non autorisé"


async def test_another_role_is_denied(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/support/cases")).status_code == 403


async def test_without_a_token_the_answer_is_401_with_a_challenge(client: httpx.AsyncClient) -> None:
    for header in ("", "Basic eDp5", "Bearer"):
        client.headers["Authorization"] = header
        answer = await client.get(f"/v1/establishments/{SCHOOL}/things")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_bad_token_is_said_to_be_bad(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/establishments/{SCHOOL}/things", headers={"Authorization": "Bearer x.y.z"})

    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


async def test_a_malformed_uai_is_named_as_such(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/establishments/0752387A/things")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_uai")


async def test_all_the_wrong_fields_are_told_at_once_in_the_language_of_the_caller(client: httpx.AsyncClient) -> None:
    path = f"/v1/establishments/{SCHOOL}/things"
    body = {"count": -1, "label": "secret-value"}

    french = (await client.put(path, json=body)).json()
    english = (await client.put(path, json=body, headers={"Accept-Language": "de, en;q=0.8, fr;q=0.5"})).json()

    assert french["code"] == english["code"] == "invalid_request"
    assert {(error["field"], error["message"]) for error in french["errors"]} == {
        ("count", "La valeur doit être au moins 0."),
        ("label", "Au plus 5 caractère(s) accepté(s)."),
    }
    assert english["title"] == "Invalid request"
    assert "secret-value" not in str(french) + str(english)


async def test_a_wrong_query_parameter_is_named_with_its_place(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/establishments/{SCHOOL}/things", params={"limit": 1000})

    assert answer.json()["errors"][0]["field"] == "query.limit"


async def test_a_body_that_is_no_json_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.put(
        f"/v1/establishments/{SCHOOL}/things", content=b"{", headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_unknown_paths_and_methods_are_problems_too(client: httpx.AsyncClient) -> None:
    missing = await client.get("/v1/nowhere")
    wrong_method = await client.delete(f"/v1/establishments/{SCHOOL}/things")

    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong_method.status_code, wrong_method.json()["code"]) == (405, "method_not_allowed")
    assert wrong_method.headers["allow"] == "GET, PUT"


async def test_a_body_over_the_limit_is_refused_whether_its_length_is_announced_or_not(
    client: httpx.AsyncClient,
) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 100_000):
            yield b"x" * 100_000

    json = {"Content-Type": "application/json"}
    path = f"/v1/establishments/{SCHOOL}"
    answers = [
        await client.put(f"{path}/things", content=b"x" * 1_100_000, headers=json),
        await client.put(f"{path}/things", content=chunks(1_200_000), headers=json),
        await client.put(f"{path}/upload", content=b"x" * 3_100_000),
        await client.put(f"{path}/upload", content=chunks(3_200_000)),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(413, "payload_too_large")] * 4
    assert (await client.put(f"{path}/upload", content=b"x" * 2_900_000)).json() == 2_900_000


async def test_a_refusal_says_what_its_handler_said(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/establishments/{SCHOOL}/failing/refused")

    assert answer.status_code == 404
    assert (answer.json()["detail"], answer.json()["ticket"]) == ("Rien ici.", "T-1")
    assert answer.json()["type"] == "/docs/problems#not_found"


@pytest.mark.parametrize("how", ["away", "database"])
async def test_a_dependency_that_is_away_asks_to_come_back(client: httpx.AsyncClient, how: str) -> None:
    answer = await client.get(f"/v1/establishments/{SCHOOL}/failing/{how}")

    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "10.0.0.1" not in answer.text


async def test_a_bug_tells_the_caller_nothing_but_the_id_of_the_request(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        answer = await client.get(f"/v1/establishments/{SCHOOL}/failing/bug", headers={"X-Request-Id": "0c0ffee0-1"})

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "0c0ffee0-1"
    assert "Camille" not in answer.text
    assert [log["event"] for log in logs] == ["request.failed", "request.handled"]


@pytest.mark.parametrize("given", ["a b" * 40, "0" * 65, "request-1", "ZYXWANIMAL", "a\tb"])
async def test_a_request_id_that_could_be_a_name_or_forge_a_log_line_is_replaced(
    client: httpx.AsyncClient, given: str
) -> None:
    answer = await client.get("/livez", headers={"X-Request-Id": given})

    assert len(answer.headers["x-request-id"]) == 32
    assert given not in answer.headers["x-request-id"]


async def test_the_log_names_the_route_and_not_what_was_looked_for(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        await client.get(f"/v1/establishments/{SCHOOL}/things?limit=7")

    (line,) = [log for log in logs if log["event"] == "request.handled"]
    assert (line["route"], line["status"]) == ("/v1/establishments/{uai}/things", 200)
    assert SCHOOL not in str(line)


async def test_the_metrics_count_requests_by_route(client: httpx.AsyncClient) -> None:
    await client.get(f"/v1/establishments/{SCHOOL}/things")

    scraped = (await client.get("/metrics")).text

    assert 'route="/v1/establishments/{uai}/things",service="test",status="200"' in scraped


async def test_readyz_says_what_is_not_ready_and_why(client: httpx.AsyncClient, readiness: Readiness) -> None:
    assert (await client.get("/readyz")).status_code == 200

    async def probe() -> None:
        raise ConnectionRefusedError("10.0.0.1")

    readiness.add_probe("database", probe)
    readiness.not_ready("kafka", "KafkaConnectionError")
    answer = await client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["missing"] == {"kafka": "KafkaConnectionError", "database": "ConnectionRefusedError"}


async def test_a_change_needs_the_version_that_it_was_made_from(client: httpx.AsyncClient) -> None:
    path, body = f"/v1/establishments/{SCHOOL}/things", {"count": 1, "label": "a"}

    async def status(*if_match: str) -> int:
        headers = {"If-Match": if_match[0]} if if_match else {}
        return (await client.put(path, json=body, headers=headers)).status_code

    assert await status() == 428
    assert await status('"2"') == await status('W/"3"') == 412
    assert await status('"3"') == await status('"2", "3"') == await status("*") == 200


def test_a_route_without_an_access_rule_keeps_the_service_from_starting(issuer: Issuer, readiness: Readiness) -> None:
    open_router = APIRouter()

    @open_router.get("/v1/open")
    async def read() -> None: ...

    with pytest.raises(UnguardedRouteError, match="/v1/open"):
        an_app(issuer, readiness, open_router)


def test_every_error_is_documented_as_a_problem(issuer: Issuer, readiness: Readiness) -> None:
    document = an_app(issuer, readiness, router).openapi()

    responses = document["paths"]["/v1/establishments/{uai}/things"]["put"]["responses"]
    assert {"200", "401", "403", "422", "500", "503"} <= responses.keys()
    assert all("application/problem+json" in responses[status]["content"] for status in ("401", "403", "422"))
    assert "Problem" in document["components"]["schemas"]


def test_a_cursor_survives_the_way_and_another_is_refused() -> None:
    cursor = encode_cursor("2026-09-01", 7)

    assert decode_cursor(cursor, types=(str, int)) == ("2026-09-01", 7)
    assert decode_cursor(None, types=(str, int)) is None
    for wrong in (cursor[:-3], encode_cursor(7, "x"), encode_cursor("a"), "%%%", "é"):
        with pytest.raises(RefusedError):
            decode_cursor(wrong, types=(str, int))


async def test_several_services_answer_on_one_port(issuer: Issuer) -> None:
    readiness = [Readiness(), Readiness()]
    first, second = an_app(issuer, readiness[0], router), an_app(issuer, readiness[1], support_router, title="Support")
    combined = combine([first, second])
    readiness[1].not_ready("kafka", "away")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(combined), base_url="http://test") as client:
        client.headers["Authorization"] = f"Bearer {issuer.token(uai=SCHOOL, roles=['administrator', 'support'])}"
        statuses = [
            (await client.request(method, path)).status_code
            for method, path in [
                ("GET", f"/v1/establishments/{SCHOOL}/things"),
                ("GET", "/v1/support/cases"),
                ("DELETE", "/v1/support/cases"),
                ("GET", "/v1/nowhere"),
                ("GET", "/livez"),
                ("GET", "/docs"),
                ("GET", "/metrics"),
            ]
        ]
        document = (await client.get("/openapi.json")).json()
        ready = await client.get("/readyz")

    assert statuses == [200, 200, 405, 404, 200, 200, 200]
    assert {"/v1/support/cases", "/v1/establishments/{uai}/things"} <= document["paths"].keys()
    assert (ready.status_code, ready.json()["missing"]) == (503, {"Support: kafka": "away"})


async def test_schemas_of_the_same_name_stay_apart(issuer: Issuer) -> None:
    def a_service(name: str, field: type) -> FastAPI:
        router = APIRouter(prefix=f"/v1/{name}")
        change = create_model("Change", value=(field, ...))
        holder = create_model("Holder", change=(change, ...))

        @router.get("", response_model=holder)
        async def read(_: Support) -> None: ...

        return an_app(issuer, Readiness(), router, title=f"CPro {name}")

    combined = combine([a_service("first", int), a_service("second", str), a_service("third", int)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(combined), base_url="http://test") as client:
        document = (await client.get("/openapi.json")).json()

    schemas = document["components"]["schemas"]
    assert schemas["Change"]["properties"]["value"]["type"] == "integer"
    assert schemas["Change_second"]["properties"]["value"]["type"] == "string"
    assert "Change_third" not in schemas

    def value_type(path: str) -> str:
        answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        holder = schemas[answer["$ref"].rsplit("/", 1)[1]]
        change = schemas[holder["properties"]["change"]["$ref"].rsplit("/", 1)[1]]
        return str(change["properties"]["value"]["type"])

    assert [value_type(f"/v1/{name}") for name in ("first", "second", "third")] == ["integer", "string", "integer"]


async def test_the_services_of_one_port_start_in_order_and_end_in_reverse(issuer: Issuer) -> None:
    steps: list[str] = []

    def a_service(name: str) -> FastAPI:
        @asynccontextmanager
        async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
            steps.append(f"{name} starts")
            yield
            steps.append(f"{name} ends")

        return create_app(
            title=name, service=name, routers=[], authenticator=issuer.authenticator(), readiness=Readiness(),
            lifespan=lifespan,
        )  # fmt: skip

    from asgi_lifespan import LifespanManager

    async with LifespanManager(combine([a_service("first"), a_service("second")])):
        pass

    assert steps == ["first starts", "second starts", "second ends", "first ends"]
