"""What is accepted with the opt-in, and the history of who chose what."""

from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest
from asgi_lifespan import LifespanManager

from cpro_platform.database import database_conninfo
from cpro_settings.bootstrap import Service
from cpro_settings.config import Config
from cpro_settings.domain.conditions import EVERY_VERSION, Conditions
from cpro_settings.entrypoints.api import create
from cpro_tenant_db.provisioning import database_of

ON = {"enabled": True, "roster_source": "siecle", "accepted_conditions": 1}
OFF = {"enabled": False, "roster_source": "siecle"}
NEWER = Conditions(2, "Les nouvelles conditions.")
CHOICE_ON = {"enabled": True, "roster_source": "siecle"}
CHOICE_OFF = {"enabled": False, "roster_source": "siecle"}
TEXT = EVERY_VERSION[0].text


@pytest.fixture
async def later(client: httpx.AsyncClient, config: Config) -> AsyncIterator[httpx.AsyncClient]:
    """The same administrator, once a newer version of the conditions is in force."""
    app = create(Service(config, conditions=(*EVERY_VERSION, NEWER)))
    async with (
        LifespanManager(app, startup_timeout=30, shutdown_timeout=30),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=client.base_url) as newer,
    ):
        newer.headers["Authorization"] = client.headers["Authorization"]
        yield newer


def history_rows(config: Config, school: str) -> list[tuple[object, ...]]:
    cluster = config.tenants.cluster_conninfos["south"]
    with psycopg.connect(database_conninfo(cluster, database_of(school))) as connection:
        return connection.execute(
            "SELECT enabled, conditions_version, conditions_text FROM transfer_opt_in_history ORDER BY revision"
        ).fetchall()


@pytest.mark.parametrize("said", [None, 7])
async def test_nobody_opens_the_doors_without_the_conditions_and_the_refusal_holds_them(
    client: httpx.AsyncClient, config: Config, school: str, said: int | None
) -> None:
    answer = await client.put("/transfer-settings", json=ON | {"accepted_conditions": said})

    assert (answer.status_code, answer.json()["code"]) == (422, "conditions_not_accepted")
    assert answer.json()["conditions"] == {"version": 1, "text": TEXT}
    assert answer.json()["conditions"] == (await client.get("/transfer-settings/conditions")).json()
    assert history_rows(config, school) == []


async def test_the_text_that_was_accepted_is_kept_with_the_acceptance(
    client: httpx.AsyncClient, config: Config, school: str
) -> None:
    chosen = await client.put("/transfer-settings", json=ON)
    closed = await client.put("/transfer-settings", json=OFF)

    assert (chosen.json()["accepted_conditions"], closed.json()["accepted_conditions"]) == (1, None)
    assert history_rows(config, school) == [(True, 1, TEXT), (False, None, None)]


async def test_an_older_text_is_refused_with_the_new_one_and_what_was_accepted_before_stands(
    client: httpx.AsyncClient, later: httpx.AsyncClient, config: Config, school: str
) -> None:
    await client.put("/transfer-settings", json=ON)

    refused = await later.put("/transfer-settings", json=ON | {"roster_source": "manual"})

    assert (refused.status_code, refused.json()["code"]) == (409, "conditions_outdated")
    assert refused.json()["conditions"] == {"version": 2, "text": NEWER.text}
    standing = (await later.get("/transfer-settings")).json()
    assert (standing["enabled"], standing["roster_source"], standing["accepted_conditions"]) == (True, "siecle", 1)

    await later.put("/transfer-settings", json=ON | {"accepted_conditions": 2})
    assert history_rows(config, school) == [(True, 1, TEXT), (True, 2, NEWER.text)]


async def test_closing_the_doors_needs_no_conditions(client: httpx.AsyncClient, later: httpx.AsyncClient) -> None:
    await client.put("/transfer-settings", json=ON)

    assert (await later.put("/transfer-settings", json=OFF)).json()["enabled"] is False


async def test_the_history_says_who_chose_from_what_to_what_newest_first_page_by_page(
    client: httpx.AsyncClient,
) -> None:
    for choice in (ON, ON | {"roster_source": "manual"}, OFF):
        await client.put("/transfer-settings", json=choice)

    first = (await client.get("/transfer-settings/history", params={"limit": 2})).json()
    rest = (await client.get("/transfer-settings/history", params={"cursor": first["next_cursor"]})).json()

    entries = first["items"] + rest["items"]
    by_hand = {"enabled": True, "roster_source": "manual"}
    assert [(entry["before"], entry["after"]) for entry in entries] == [
        (by_hand, CHOICE_OFF),
        (CHOICE_ON, by_hand),
        (CHOICE_OFF, CHOICE_ON),
    ]
    assert [entry["accepted_conditions"] for entry in entries] == [None, *[{"version": 1, "text": TEXT}] * 2]
    assert {entry["changed_by"] for entry in entries} == {"admin-1"}
    assert (len(first["items"]), rest["next_cursor"]) == (2, None)
