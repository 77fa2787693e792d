"""The running services answer what is published: the documents, the explanations of problems, links and languages."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from cpro_embedded.services import Installation, Part, applications, create_tenants, prepare
from cpro_platform.http import combine
from cpro_test_support import reference
from cpro_test_support.servers import Servers

SCHOOL = "0752387M"
DOCUMENT = reference.documents()[reference.OF_ALL]
LISTS = sorted(
    (path, frozenset(operations["get"]["x-roles"]))
    for path, operations in DOCUMENT["paths"].items()
    if "get" in operations
    and "Link" in operations["get"]["responses"]["200"].get("headers", {})
    and set(re.findall(r"\{(\w+)\}", path)) <= {"uai"}
)


@dataclass(slots=True)
class Everything:
    """The four services on one port, on real servers, with one school."""

    apps: list[FastAPI]
    client: httpx.AsyncClient
    servers: Servers

    async def get(self, path: str, *roles: str, language: str = "fr") -> httpx.Response:
        """What somebody with these roles is answered."""
        token = self.servers.tokens.token("someone", list(roles), SCHOOL if "administrator" in roles else None)
        headers = {"Authorization": f"Bearer {token}", "Accept-Language": language}
        return await self.client.get(path.replace("{uai}", SCHOOL), headers=headers)


@pytest.fixture(scope="module")
async def everything(servers: Servers) -> AsyncIterator[Everything]:
    installation = Installation.fresh(servers.endpoints)
    await prepare(installation)
    await create_tenants(installation, {SCHOOL: "north"})
    apps = list(applications(installation, Part.API))
    async with AsyncExitStack() as running:
        for app in apps:
            await running.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(combine(apps))
        client = await running.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://test"))
        yield Everything(apps, client, servers)


async def test_the_documents_that_are_served_are_those_that_are_published(everything: Everything) -> None:
    own = {app.title: app.openapi() for app in everything.apps}

    assert own == {app.title: app.openapi() for app in reference.services().values()}
    assert (await everything.client.get("/openapi.json")).json() == DOCUMENT


async def test_the_type_of_every_problem_leads_to_its_explanation_in_both_languages(everything: Everything) -> None:
    page = await everything.client.get("/docs/problems")

    sections = dict(re.findall(r'<h2 id="(\w+)">(.*?)</h2>', page.text))
    assert sections == {code.code: f"{code.status} {code.code}" for code in reference.guide()}
    assert page.text.count('<p lang="en">') == len(sections)


@pytest.mark.parametrize(("path", "roles"), LISTS, ids=[path for path, _ in LISTS])
async def test_every_list_links_to_its_first_page_with_what_was_asked_for(
    everything: Everything, path: str, roles: frozenset[str]
) -> None:
    asked = f"{path.replace('{uai}', SCHOOL)}?limit=3" + ("&direction=outgoing" if path.endswith("}/transfers") else "")

    answer = await everything.get(asked, min(roles))

    assert answer.status_code == 200, answer.text
    assert answer.links["first"]["url"] == asked
    assert ("next" in answer.links) == (answer.json()["next_cursor"] is not None)


@pytest.mark.parametrize(
    ("language", "summary"),
    [("fr", "0 élève est en attente de cet accord."), ("en", "Pupils waiting for this opt-in: 0.")],
)
async def test_what_an_opt_in_would_do_is_said_in_the_language_that_is_preferred(
    everything: Everything, language: str, summary: str
) -> None:
    path = "/v1/establishments/{uai}/transfer-settings/preview?enabled=true"

    answer = await everything.get(path, "administrator", language=language)

    assert answer.json()["summary"] == summary
    assert (answer.headers["Content-Language"], answer.headers["Vary"]) == (language, "Accept-Language")


async def test_the_conditions_are_french_whatever_is_preferred_and_say_so(everything: Everything) -> None:
    path = "/v1/establishments/{uai}/transfer-settings/conditions"

    french, english = [await everything.get(path, "administrator", language=one) for one in ("fr", "en")]

    assert english.json() == french.json()
    assert english.headers["Content-Language"] == "fr"
