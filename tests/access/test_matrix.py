"""Every route of every service, asked by everybody: who is let in is what its OpenAPI operation says, and nobody else.

`docs/explanation/access.md` has the same table for people. It is written down there so that a rule can't change unseen:
the document says what the code does, and this compares the two.
"""

import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from cpro_embedded.services import Installation, Part, applications, create_tenants, prepare
from cpro_embedded.token_signer import TokenSigner
from cpro_test_support import reference
from cpro_test_support.servers import Servers

PAGE = Path(__file__).parents[2] / "docs/explanation/access.md"
OWN, OTHER = "0752387M", "0750680G"
_SOMETHING = str(UUID(int=7))


@dataclass(frozen=True, slots=True)
class Route:
    """An operation of a service, and whom its document lets in."""

    method: str
    path: str
    roles: frozenset[str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def address(self) -> str:
        known = {"uai": OWN, "kind": "logo"}
        return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], _SOMETHING), self.path)


def routes_of(app: FastAPI) -> list[Route]:
    return [
        Route(method.upper(), path, frozenset(operation["x-roles"]))
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    ]


# Reading the documents needs no server: nothing connects before the start.
ROUTES = [route for app in reference.services().values() for route in routes_of(app)]

Token = Callable[[TokenSigner], str | None]
NOT_KNOWN: dict[str, Token] = {
    "no token": lambda _: None,
    "not a token": lambda _: "not-a-token",
    "expired": lambda s: s.token("a", ["administrator", "support", "operations", "platform"], OWN, ttl_seconds=-600),
    "another issuer's": lambda s: s.token("a", ["administrator", "support"], OWN, iss="http://another.test"),
    "for another audience": lambda s: s.token("a", ["administrator", "support"], OWN, aud="another"),
    "signed by nobody": lambda s: s.token("a", ["administrator", "support"], OWN).rsplit(".", 1)[0] + ".AAAA",
}
KNOWN: dict[str, Token] = {
    "administrator": lambda s: s.token("a", ["administrator"], OWN),
    "administrator of another school": lambda s: s.token("b", ["administrator"], OTHER),
    "administrator of no school": lambda s: s.token("c", ["administrator"]),
    "support": lambda s: s.token("d", ["support"]),
    "operations": lambda s: s.token("e", ["operations"]),
    "platform": lambda s: s.token("f", ["platform"]),
    "no role": lambda s: s.token("g", [], OWN),
    "an unknown role": lambda s: s.token("h", ["root", "*"], OWN),
}


def may(who: str, route: Route) -> bool:
    """`administrator of another school` is never the role `administrator` here."""
    return who in route.roles


@pytest.fixture(scope="module")
async def everything(servers: Servers) -> AsyncIterator[list[tuple[FastAPI, httpx.AsyncClient]]]:
    """The four services on real servers, with two schools."""
    installation = Installation.fresh(servers.endpoints)
    await prepare(installation)
    await create_tenants(installation, {OWN: "north", OTHER: "south"})
    async with AsyncExitStack() as running:
        opened = []
        for app in applications(installation, Part.API):
            await running.enter_async_context(app.router.lifespan_context(app))
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
            opened.append((app, await running.enter_async_context(client)))
        yield opened


async def _ask(client: httpx.AsyncClient, route: Route, token: str | None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await client.request(route.method, route.address, headers=headers)


@pytest.mark.timeout(300)
async def test_every_route_lets_in_whom_its_document_says_and_nobody_else(
    everything: list[tuple[FastAPI, httpx.AsyncClient]], servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: list[str] = []
    figures: Counter[str] = Counter()
    for app, client in everything:
        for route in routes_of(app):
            for who, token in (NOT_KNOWN | KNOWN).items():
                answer = await _ask(client, route, token(servers.tokens))
                expected = "401" if who in NOT_KNOWN else "let in" if may(who, route) else "403"
                found = str(answer.status_code) if answer.status_code in {401, 403} else "let in"
                figures[expected] += 1
                if found != expected or answer.status_code == 500:
                    wrong.append(f"{route} by {who}: {answer.status_code}, not {expected}")
    with capsys.disabled():
        cases = len(NOT_KNOWN) + len(KNOWN)
        sys.stdout.write(f"\n{len(ROUTES)} routes x {cases} callers = {figures.total()} cases: {dict(figures)}\n")

    assert not wrong, "\n".join(wrong)
    assert figures.total() == len(ROUTES) * (len(NOT_KNOWN) + len(KNOWN))


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_route_is_for_somebody_and_all_that_is_below_support_is_for_support(route: Route) -> None:
    assert route.roles
    if route.path.startswith("/v1/support"):
        assert route.roles <= {"support", "operations"}
        assert "support" in route.roles
    if route.method != "GET":
        assert not route.roles & {"platform"}


def test_whom_each_route_lets_in_is_what_the_documentation_says() -> None:
    rows = re.findall(r"^\| (GET|PUT|POST|DELETE) `(\S+)` \| ([a-z, ]+) \|$", PAGE.read_text(), re.MULTILINE)

    written = {(method, path): frozenset(roles.split(", ")) for method, path, roles in rows}
    assert written == {(route.method, route.path): route.roles for route in ROUTES}


def test_what_is_open_to_everybody_names_nobody() -> None:
    """Besides the guarded routes an application has these and no others."""
    for app in reference.services().values():
        outside: list[Any] = [route for route in app.routes if not getattr(route, "path", "").startswith("/v1")]
        guarded = {route.path for route in routes_of(app)}
        paths = {getattr(route, "path", None) for route in outside} - {None}
        assert paths - guarded <= {
            "/openapi.json", "/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/favicon.png",
            "/docs/problems", "/livez", "/readyz", "/metrics",
        }  # fmt: skip
