"""The choice to be told of transfers by e-mail, and what became of the mails, over HTTP."""

from collections.abc import Callable

import httpx
import psycopg

from cpro_settings.config import Config
from cpro_test_support.notifying import MONDAY_NOON

SHEET = {"name": "Lycée Jean-Jaurès", "email": "ce.lycee@ac-paris.fr"}
PATH = "/notification-settings"


async def choose(client: httpx.AsyncClient, enabled: object, version: int) -> httpx.Response:
    return await client.put(PATH, json={"enabled": enabled}, headers={"If-Match": f'"{version}"'})


async def save_sheet(client: httpx.AsyncClient) -> None:
    await client.put("", json=SHEET, headers={"If-Match": '"0"'})


async def test_mails_are_off_until_somebody_switches_them_on(client: httpx.AsyncClient, school: str) -> None:
    answer = await client.get(PATH)

    assert (answer.status_code, answer.headers["etag"]) == (200, '"0"')
    assert answer.json() == {
        "uai": school, "enabled": False, "address": None, "obstacle": None, "refused_address": None,
        "refused_with": None, "changed_at": None, "changed_by": None,
    }  # fmt: skip


async def test_a_choice_is_read_back_with_who_made_it_and_where_mails_go(client: httpx.AsyncClient) -> None:
    await save_sheet(client)

    chosen = await choose(client, True, 0)

    read = await client.get(PATH)
    assert (chosen.status_code, chosen.headers["etag"], read.headers["etag"]) == (200, '"1"', '"1"')
    assert read.json() == chosen.json()
    assert (read.json()["enabled"], read.json()["address"]) == (True, SHEET["email"])
    assert read.json()["changed_by"] == "admin-1"


async def test_a_choice_needs_the_version_that_was_read(client: httpx.AsyncClient) -> None:
    await save_sheet(client)

    without = await client.put(PATH, json={"enabled": True})
    await choose(client, True, 0)
    late = await choose(client, False, 0)

    assert (without.status_code, without.json()["code"]) == (428, "precondition_required")
    assert (late.status_code, late.json()["code"], late.json()["current_etag"]) == (412, "precondition_failed", '"1"')
    assert (await client.get(PATH)).json()["enabled"] is True


async def test_the_same_choice_again_makes_no_new_version(client: httpx.AsyncClient) -> None:
    await save_sheet(client)
    first = await choose(client, True, 0)

    again = await choose(client, True, 1)

    assert (again.headers["etag"], again.json()) == ('"1"', first.json())


async def test_without_an_address_the_answer_says_what_to_fill_in(client: httpx.AsyncClient) -> None:
    answer = await choose(client, True, 0)

    assert (answer.status_code, answer.json()["code"]) == (409, "no_email_address")
    assert "fiche" in answer.json()["detail"]
    assert (await client.get(PATH)).headers["etag"] == '"0"'


async def test_the_sheet_is_not_touched_by_the_choice(client: httpx.AsyncClient) -> None:
    await save_sheet(client)
    before = await client.get("")

    await choose(client, True, 0)

    assert ((await client.get("")).json(), (await client.get("")).headers["etag"]) == (before.json(), '"1"')


async def test_a_choice_that_is_no_boolean_is_refused(client: httpx.AsyncClient) -> None:
    assert (await choose(client, "yes", 0)).status_code == 422


async def test_only_the_administrator_of_the_establishment_may_read_or_choose(
    client: httpx.AsyncClient, header_of: Callable[..., dict[str, str]]
) -> None:
    others = [header_of("administrator", uai="0752387M"), header_of("platform"), header_of("operations")]

    for header in others:
        for path in (PATH, "/notifications"):
            assert (await client.get(path, headers=header)).status_code == 403
        refused = await client.put(PATH, json={"enabled": True}, headers=header | {"If-Match": '"0"'})
        assert refused.status_code == 403


async def test_the_mails_are_listed_newest_first_page_by_page(
    client: httpx.AsyncClient, config: Config, school: str
) -> None:
    await save_sheet(client)
    await choose(client, True, 0)
    async with await psycopg.AsyncConnection.connect(config.database.conninfo) as connection:
        await connection.execute(
            "INSERT INTO notification_mail (id, uai, day, state, formed_at, due_at, outgoing, reply)"
            " SELECT gen_random_uuid(), %(uai)s, %(start)s::date + n, 'sent', %(start)s, %(start)s, n, '250 OK'"
            " FROM generate_series(1, 5) n",
            {"uai": school, "start": MONDAY_NOON},
        )

    pages = [(await client.get("/notifications", params={"limit": 2})).json()]
    while pages[-1]["next_cursor"]:
        params = {"limit": 2, "cursor": pages[-1]["next_cursor"]}
        pages.append((await client.get("/notifications", params=params)).json())

    found = [mail for page in pages for mail in page["items"]]
    assert [len(page["items"]) for page in pages] == [2, 2, 1]
    assert sorted(mail["outgoing"] for mail in found) == [1, 2, 3, 4, 5]
    assert {(mail["state"], mail["reply"]) for mail in found} == {("sent", "250 OK")}
    assert (await client.get("/notifications", params={"cursor": "WyJhIiwiYiJd"})).status_code == 422
