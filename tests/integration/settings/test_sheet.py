import asyncio
from collections.abc import Awaitable, Callable, Mapping

import httpx
import psycopg
import pytest

from cpro_contracts.envelope import Event
from cpro_contracts.establishments import EstablishmentUpdated
from cpro_settings.bootstrap import Service
from cpro_settings.config import Config
from cpro_settings.domain.sheet import Sheet, StoredSheet

HeaderOf = Callable[..., dict[str, str]]
EventsOf = Callable[[int], Awaitable[list[Event]]]
FULL = {
    "name": "Lycée Jean-Jaurès",
    "email": "ce.lycee@ac-paris.fr",
    "street": "1 rue de l'École",
    "postcode": "75012",
    "city": "Paris",
    "telephone": "01 23 45 67 89",
    "head": "Mme Dupont",
    "academy": "Paris",
    "website": "https://www.lycee-jean-jaures.example",
}


async def save(client: httpx.AsyncClient, body: Mapping[str, object], version: int) -> httpx.Response:
    return await client.put("", json=body, headers={"If-Match": f'"{version}"'})


async def test_a_sheet_that_was_never_saved_reads_as_an_empty_one(client: httpx.AsyncClient, school: str) -> None:
    answer = await client.get("")

    assert (answer.status_code, answer.headers["etag"]) == (200, '"0"')
    assert answer.json()["uai"] == school
    assert answer.json()["ready_for"] == {"user_creation": False, "passport_export": False}
    assert answer.json()["missing_fields"] == ["name", "email"]


async def test_a_saved_sheet_is_read_back_and_says_what_it_is_ready_for(client: httpx.AsyncClient) -> None:
    saved = await save(client, dict(FULL, telephone="+33 1.23.45.67.89"), 0)

    read = await client.get("")
    assert (saved.status_code, saved.headers["etag"]) == (200, '"1"')
    assert read.json() == saved.json()
    assert FULL.items() <= read.json().items()
    assert read.json()["ready_for"] == {"user_creation": True, "passport_export": True}
    assert read.json()["changed_by"] == "admin-1"


async def test_a_change_needs_the_version_that_was_read(client: httpx.AsyncClient) -> None:
    without = await client.put("", json=FULL)
    await save(client, FULL, 0)
    late = await save(client, dict(FULL, name="Autre"), 0)

    assert (without.status_code, without.json()["code"]) == (428, "precondition_required")
    assert (late.status_code, late.json()["code"], late.json()["current_etag"]) == (412, "precondition_failed", '"1"')
    assert (await client.get("")).json()["name"] == FULL["name"]


async def test_who_saves_an_overtaken_version_is_told_what_changed_meanwhile_who_did_it_and_when(
    client: httpx.AsyncClient, header_of: HeaderOf, school: str
) -> None:
    await save(client, FULL, 0)
    colleague = header_of("administrator", uai=school) | {"If-Match": '"1"'}
    theirs = await client.put("", json=dict(FULL, name="Lycée Rosa-Parks", city="Lyon"), headers=colleague)
    await save(client, dict(FULL, name="Lycée Rosa-Parks", website=None), 2)
    changed_last = (await client.get("")).json()["changed_at"]

    late = await save(client, dict(FULL, head="M. Martin"), 1)

    assert (late.status_code, late.json()["code"], late.json()["current_etag"]) == (412, "precondition_failed", '"3"')
    assert late.json()["changes"] == [
        {
            "field": "name",
            "before": "Lycée Jean-Jaurès",
            "current": "Lycée Rosa-Parks",
            "changed_at": theirs.json()["changed_at"],
            "changed_by": "someone",
        },
        {
            "field": "website",
            "before": FULL["website"],
            "current": None,
            "changed_at": changed_last,
            "changed_by": "admin-1",
        },
    ]


@pytest.mark.parametrize("named", ['"7"', 'W/"1"', '"abc"', "1", '"99999999999999999999999"', ""])
async def test_of_a_version_that_never_was_nothing_is_said_and_nothing_is_saved(
    client: httpx.AsyncClient, named: str
) -> None:
    await save(client, FULL, 0)

    answer = await client.put("", json=dict(FULL, name="Autre"), headers={"If-Match": named})

    assert (answer.status_code, answer.json()["code"], answer.json()["changes"]) == (412, "precondition_failed", None)
    assert (await client.get("")).json()["name"] == FULL["name"]


@pytest.mark.parametrize("saved_before", [0, 1])
async def test_of_saves_at_once_one_wins_and_the_others_are_told(client: httpx.AsyncClient, saved_before: int) -> None:
    for version in range(saved_before):
        await save(client, FULL, version)

    answers = await asyncio.gather(*(save(client, dict(FULL, name=f"Lycée {n}"), saved_before) for n in range(6)))

    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412, 412]
    assert (await client.get("")).headers["etag"] == f'"{saved_before + 1}"'


@pytest.mark.parametrize("saved_before", [0, 1])
async def test_a_change_waits_for_the_one_under_way_and_then_sees_it(
    client: httpx.AsyncClient, service: Service, config: Config, school: str, saved_before: int
) -> None:
    for version in range(saved_before):
        await save(client, FULL, version)

    async def version_seen() -> int:
        async with service.sheets.changing(school) as change:
            return change.current.version

    async with service.sheets.changing(school) as change:
        other = asyncio.create_task(version_seen())
        async with asyncio.timeout(10):
            while not (other.done() or await somebody_waits_for_a_lock(config)):
                await asyncio.sleep(0.01)
        changed = StoredSheet(school, Sheet(name="Autre"), saved_before + 1, service.clock.now(), "admin-2")
        await change.save(changed, {"name": (None, "Autre")})

    assert await other == saved_before + 1


async def somebody_waits_for_a_lock(config: Config) -> bool:
    async with await psycopg.AsyncConnection.connect(config.database.conninfo) as connection:
        found = await connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return await found.fetchone() is not None


async def test_all_the_wrong_fields_are_told_at_once_and_nothing_is_saved(client: httpx.AsyncClient) -> None:
    answer = await save(client, {"name": "Lycée", "email": "lycee", "postcode": "7", "telephone": "12"}, 0)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_sheet")
    assert [error["field"] for error in answer.json()["errors"]] == ["email", "postcode", "telephone"]
    assert "dix chiffres" in answer.json()["errors"][2]["message"]
    assert (await client.get("")).headers["etag"] == '"0"'


async def test_the_errors_come_in_english_where_asked_for(client: httpx.AsyncClient) -> None:
    headers = {"If-Match": '"0"', "Accept-Language": "en"}

    answer = await client.put("", json={"telephone": "12"}, headers=headers)

    assert answer.json()["errors"][0]["message"].startswith("Not a telephone number")


@pytest.mark.parametrize(
    "body", ['{"name": 5}', '{"name": ["Lycée"]}', "[]", "null", '"Lycée"', "{", '{"name": "\\ud800"}']
)
async def test_what_is_no_sheet_at_all_is_refused_and_nothing_is_saved(client: httpx.AsyncClient, body: str) -> None:
    headers = {"If-Match": '"0"', "Content-Type": "application/json"}

    answer = await client.put("", content=body.encode(), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (await client.get("")).headers["etag"] == '"0"'


async def test_an_unknown_field_is_refused_rather_than_lost(client: httpx.AsyncClient) -> None:
    answer = await save(client, {"nom": "Lycée", "uai": "0750680G"}, 0)

    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"nom", "uai"}


async def test_saving_the_same_again_makes_no_new_version(client: httpx.AsyncClient, events_of: EventsOf) -> None:
    await save(client, FULL, 0)

    again = await save(client, dict(FULL, name="  Lycée   Jean-Jaurès "), 1)

    assert again.headers["etag"] == '"1"'
    assert len(await events_of(1)) == 1


async def test_each_version_becomes_an_event_in_order(
    client: httpx.AsyncClient, events_of: EventsOf, school: str
) -> None:
    await save(client, FULL, 0)
    await save(client, dict(FULL, name="Lycée Rosa-Parks"), 1)

    events = await events_of(2)

    assert all(isinstance(event, EstablishmentUpdated) for event in events)
    assert [(event.name, event.revision) for event in events if isinstance(event, EstablishmentUpdated)] == [
        ("Lycée Jean-Jaurès", 1),
        ("Lycée Rosa-Parks", 2),
    ]


async def test_the_history_says_who_changed_what_newest_first_page_by_page(client: httpx.AsyncClient) -> None:
    await save(client, {"name": "A"}, 0)
    await save(client, {"name": "B"}, 1)
    await save(client, {"name": "B", "city": "Paris"}, 2)

    first = (await client.get("/history", params={"limit": 2})).json()
    second = (await client.get("/history", params={"limit": 2, "cursor": first["next_cursor"]})).json()

    assert [entry["version"] for entry in first["items"] + second["items"]] == [3, 2, 1]
    assert first["items"][0]["fields"] == {"city": {"before": None, "after": "Paris"}}
    assert first["items"][1]["fields"] == {"name": {"before": "A", "after": "B"}}
    assert first["items"][0]["changed_by"] == "admin-1"
    assert second["next_cursor"] is None


async def test_who_has_the_current_version_gets_no_body(client: httpx.AsyncClient) -> None:
    await save(client, FULL, 0)

    answer = await client.get("", headers={"If-None-Match": '"1"'})

    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')


async def test_an_establishment_that_is_not_set_up_is_unknown(client: httpx.AsyncClient, header_of: HeaderOf) -> None:
    unknown = "http://test/v1/establishments/0311323V"
    headers = header_of("administrator", uai="0311323V") | {"If-Match": '"0"'}
    answers = [
        await client.get(unknown, headers=headers),
        await client.put(unknown, json=FULL, headers=headers),
        await client.get(f"{unknown}/history", headers=headers),
        await client.get(f"{unknown}/transfer-settings", headers=headers),
        await client.put(
            f"{unknown}/transfer-settings",
            json={"enabled": True, "roster_source": "siecle", "accepted_conditions": 1},
            headers=headers,
        ),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "establishment_unknown")] * 5


@pytest.mark.parametrize(
    ("roles", "status_of"),
    [
        (("platform",), {"GET": 200, "PUT": 403}),
        (("support",), {"GET": 403, "PUT": 403}),
        (("operations",), {"GET": 403, "PUT": 403}),
        (("administrator",), {"GET": 403, "PUT": 403}),  # of another establishment
    ],
)
async def test_who_may_read_and_write_the_sheet(
    client: httpx.AsyncClient, header_of: HeaderOf, roles: tuple[str, ...], status_of: dict[str, int]
) -> None:
    headers = header_of(*roles, uai="0311323V") | {"If-Match": '"0"'}

    for method, status in status_of.items():
        answer = await client.request(method, "", json=FULL if method == "PUT" else None, headers=headers)
        assert answer.status_code == status
