"""What every request goes through besides its access rule: how often, how much, and what browsers are told."""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import APIRouter, Request, Response

from cpro_platform.auth import AdministratorOf, Support
from cpro_platform.clock import SettableClock
from cpro_platform.config import HttpSettings, RateLimit, RateLimitSettings
from cpro_platform.http import UaiPath, UnguardedRouteError, combine, create_app
from cpro_platform.http.app import MAX_BODY_BYTES
from cpro_platform.rate_limits import RateLimiter, RouteClass
from cpro_platform.readiness import Readiness
from cpro_test_support.oidc_issuer import Issuer

SCHOOL, OTHER_SCHOOL = "0752387M", "0750680G"
THINGS = f"/v1/establishments/{SCHOOL}/things"
UPLOAD = f"/v1/establishments/{SCHOOL}/upload"
PAGE = "https://ui.cpro.example"

router = APIRouter(prefix="/v1/establishments/{uai}")


@router.get("/things")
async def read_things(_: AdministratorOf, uai: UaiPath) -> str:
    return uai


@router.put("/things")
async def write_things(_: AdministratorOf, uai: UaiPath, request: Request) -> int:
    return len(await request.body())


@router.put("/upload", max_body_size=3_000_000)
async def upload(_: AdministratorOf, uai: UaiPath, request: Request) -> int:
    return len(await request.body())


@router.get("/picture")
async def read_picture(_: AdministratorOf, uai: UaiPath) -> Response:
    return Response(b"", media_type="image/png", headers={"Cache-Control": "private, max-age=60"})


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(SettableClock(datetime(2026, 9, 1, 8, tzinfo=UTC)))


def opened(issuer: Issuer, *, combined: bool = False, **settings: Any) -> httpx.AsyncClient:
    http = HttpSettings(**settings)
    app = create_app(
        title="CPro test",
        service="test",
        routers=[router],
        authenticator=issuer.authenticator(),
        readiness=Readiness(),
        http=http,
    )
    transport = httpx.ASGITransport(combine([app], http=http) if combined else app)
    token = issuer.token(uai=SCHOOL)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers={"Authorization": f"Bearer {token}"})


def few(**changed: RateLimit) -> RateLimitSettings:
    plenty = RateLimit(per_minute=6000, burst=1000)
    return RateLimitSettings(**({"read": plenty, "write": plenty, "upload": plenty} | changed))


# ------------------------------------------------------------------------------------------------ how often


def test_a_caller_may_send_a_burst_and_then_as_many_as_the_limit_says() -> None:
    now = [100.0]
    limiter = RateLimiter(few(read=RateLimit(per_minute=60, burst=3)), monotonic=lambda: now[0])

    assert [limiter.take("a", RouteClass.READ) for _ in range(4)] == [0, 0, 0, 1]
    now[0] += 1
    assert [limiter.take("a", RouteClass.READ) for _ in range(2)] == [0, 1]
    now[0] += 3600
    assert [limiter.take("a", RouteClass.READ) for _ in range(4)] == [0, 0, 0, 1]


def test_what_is_refused_costs_the_caller_nothing_more() -> None:
    now = [100.0]
    limiter = RateLimiter(few(write=RateLimit(per_minute=1, burst=1)), monotonic=lambda: now[0])

    assert [limiter.take("a", RouteClass.WRITE) for _ in range(50)] == [0, *[60] * 49]
    now[0] += 60
    assert limiter.take("a", RouteClass.WRITE) == 0


def test_callers_and_kinds_of_routes_have_limits_of_their_own() -> None:
    limiter = RateLimiter(few(read=RateLimit(per_minute=1, burst=1)), monotonic=lambda: 0.0)
    limiter.take("a", RouteClass.READ)

    assert limiter.take("a", RouteClass.READ) == 60
    assert limiter.take("b", RouteClass.READ) == 0
    assert limiter.take("a", RouteClass.WRITE) == 0


@pytest.mark.parametrize(
    ("kind", "method", "path"), [("read", "GET", THINGS), ("write", "PUT", THINGS), ("upload", "PUT", UPLOAD)]
)
async def test_who_asks_too_often_is_told_in_french_when_to_come_back(
    issuer: Issuer, kind: str, method: str, path: str
) -> None:
    async with opened(issuer, rate_limits=few(**{kind: RateLimit(per_minute=2, burst=2)})) as client:
        answers = [await client.request(method, path) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "30"
    assert answers[2].json() | {"request_id": ""} == {
        "type": "/docs/problems#too_many_requests",
        "title": "Trop de requêtes en peu de temps",
        "status": 429,
        "detail": "Trop de requêtes ont été envoyées en peu de temps. Réessayez dans 30 s.",
        "code": "too_many_requests",
        "request_id": "",
        "retry_after_seconds": 30,
    }


async def test_trying_one_school_after_another_is_slowed_down_too(issuer: Issuer) -> None:
    async with opened(issuer, rate_limits=few(read=RateLimit(per_minute=2, burst=2))) as client:
        denied = [await client.get(f"/v1/establishments/{OTHER_SCHOOL}/things") for _ in range(3)]

    assert [answer.status_code for answer in denied] == [403, 403, 429]


# ------------------------------------------------------------------------------------------------ how much


@pytest.mark.parametrize(("path", "limit"), [(THINGS, MAX_BODY_BYTES), (UPLOAD, 3_000_000)])
async def test_no_more_of_a_body_is_read_than_its_route_takes(issuer: Issuer, path: str, limit: int) -> None:
    app = create_app(
        title="t", service="t", routers=[router], authenticator=issuer.authenticator(), readiness=Readiness()
    )
    piece, handed_over = b"x" * 65536, 0

    def pieces() -> Iterator[dict[str, Any]]:
        for _ in range(2000):  # 125 MiB, whose length is not announced
            yield {"type": "http.request", "body": piece, "more_body": True}

    source, answers = pieces(), list[Any]()

    async def receive() -> dict[str, Any]:
        nonlocal handed_over
        handed_over += len(piece)
        return next(source)

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {
        "type": "http", "method": "PUT", "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http",
        "headers": [(b"authorization", f"Bearer {issuer.token(uai=SCHOOL)}".encode())], "server": ("test", 80),
    }  # fmt: skip
    await app(scope, receive, send)

    assert answers[0]["status"] == 413
    assert handed_over <= limit + 2 * len(piece)


# ------------------------------------------------------------------------------------------------ browsers


@pytest.mark.parametrize("combined", [False, True])
@pytest.mark.parametrize(
    "path", [THINGS, "/v1/unknown", f"/v1/establishments/{OTHER_SCHOOL}/things", "/livez", "/readyz", "/metrics"]
)
async def test_every_answer_forbids_framing_guessing_and_keeping(issuer: Issuer, path: str, combined: bool) -> None:
    async with opened(issuer, combined=combined) as client:
        headers = (await client.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in headers


async def test_an_answer_that_may_be_kept_says_so_itself(issuer: Issuer) -> None:
    async with opened(issuer) as client:
        headers = (await client.get(f"/v1/establishments/{SCHOOL}/picture")).headers

    assert headers["cache-control"] == "private, max-age=60"


@pytest.mark.parametrize("combined", [False, True])
async def test_https_is_asked_for_where_the_setting_says_so(issuer: Issuer, combined: bool) -> None:
    async with opened(issuer, combined=combined, hsts_seconds=3600) as client:
        answers = [await client.get(path) for path in (THINGS, "/livez")]

    assert {answer.headers["strict-transport-security"] for answer in answers} == {"max-age=3600; includeSubDomains"}


async def _preflight(client: httpx.AsyncClient, origin: str) -> httpx.Response:
    return await client.options(THINGS, headers={"Origin": origin, "Access-Control-Request-Method": "PUT"})


async def test_no_page_of_another_origin_may_call_unless_it_is_named(issuer: Issuer) -> None:
    async with opened(issuer) as client:
        assert "access-control-allow-origin" not in (await _preflight(client, PAGE)).headers
        assert "access-control-allow-origin" not in (await client.get(THINGS, headers={"Origin": PAGE})).headers

    async with opened(issuer, cors_origins=[PAGE]) as client:
        assert (await _preflight(client, PAGE)).headers["access-control-allow-origin"] == PAGE
        assert (await _preflight(client, "https://attacker.test")).status_code == 400
        asked = await client.get(THINGS, headers={"Origin": "https://attacker.test"})
        assert "access-control-allow-origin" not in asked.headers


@pytest.fixture(params=[False, True], ids=["one service", "combined"])
async def documentation(issuer: Issuer, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(issuer, combined=request.param) as client:
        yield client


async def test_the_documentation_loads_nothing_from_another_host(documentation: httpx.AsyncClient) -> None:
    page = await documentation.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    answers = [await documentation.get(address) for address in loaded]

    assert len(loaded) == 3
    assert not any(urlsplit(address).netloc for address in loaded)
    assert [(answer.status_code, answer.headers["content-type"].split(";")[0]) for answer in answers] == [
        (200, "text/css"), (200, "image/png"), (200, "text/javascript"),
    ]  # fmt: skip


async def test_the_policy_of_the_documentation_lets_only_its_own_scripts_run(documentation: httpx.AsyncClient) -> None:
    policy = (await documentation.get("/docs")).headers["content-security-policy"]
    (scripts,) = [part for part in policy.split("; ") if part.startswith("script-src")]

    assert re.fullmatch(r"script-src 'self' 'sha256-[A-Za-z0-9+/=]{44}'", scripts)
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


# ------------------------------------------------------------------------------------------------ who


def test_the_document_says_whom_a_route_lets_in(issuer: Issuer) -> None:
    app = create_app(
        title="t", service="t", routers=[router], authenticator=issuer.authenticator(), readiness=Readiness()
    )

    operations = app.openapi()["paths"]["/v1/establishments/{uai}/things"]
    assert {operation["x-roles"][0] for operation in operations.values()} == {"administrator"}


def test_a_rule_by_which_nobody_could_get_in_keeps_the_service_from_starting(issuer: Issuer) -> None:
    pathless = APIRouter()

    @pathless.get("/v1/everything")
    async def read_everything(_: AdministratorOf) -> None:
        """The administrator of what?"""

    with pytest.raises(UnguardedRouteError):
        create_app(
            title="t", service="t", routers=[pathless], authenticator=issuer.authenticator(), readiness=Readiness()
        )


def test_of_several_rules_all_must_let_a_caller_in(issuer: Issuer) -> None:
    both = APIRouter()

    @both.get("/v1/establishments/{uai}/both")
    async def read_both(_: AdministratorOf, __: Support, uai: UaiPath) -> None:
        """Nobody is both by one role."""

    app = create_app(
        title="t", service="t", routers=[both], authenticator=issuer.authenticator(), readiness=Readiness()
    )

    assert app.openapi()["paths"]["/v1/establishments/{uai}/both"]["get"]["x-roles"] == []
