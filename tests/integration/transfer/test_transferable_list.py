"""The list of transferable pupils at the size of a large school: searched, ordered, a page at a time, fast."""

import logging
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cpro_test_support.authorising import Desk, desk_of
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_uai
from cpro_transfer.bootstrap import Work

FORMER_PUPILS = 5_000
FIRST_PAGE_SECONDS = 0.1
_log = logging.getLogger(__name__)
_MANY = """
INSERT INTO pupil (family_name, first_name, birth_date, division, leaving_date, source, active, match_key)
SELECT 'NOM ' || lpad((number * 7919 %% 5000)::text, 4, '0'), 'Élève ' || number, DATE '2009-01-01' + number %% 700,
    CASE WHEN number %% 10 > 0 THEN '2MRC' || number %% 9 END,
    CASE WHEN number %% 11 > 0 THEN DATE '2025-09-01' + number %% 300 END, 'siecle', false, 'pupil:' || %s || ':' || number
FROM generate_series(1, %s) AS number
"""
_RECORDS = "INSERT INTO report (pupil_id, title) SELECT id, 'bilan' FROM pupil CROSS JOIN generate_series(1, 3)"
_KNOWN = """
INSERT INTO enrolment (match_key, uai, pupil_id, active, withdrawn, source, ine_status, revision, occurred_at, event_time)
SELECT key, %s, id, false, false, 'siecle', 'absent', number, now(), now()
FROM unnest(%s::uuid[], %s::text[]) WITH ORDINALITY AS pupil (id, key, number)
"""


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    """The API alone."""
    async with desk_of(world, servers, Work.NOTHING) as opened:
        yield opened


async def many_have_left(world: TransferWorld, number: int) -> School:
    """A school that so many have left, each with three records."""
    (school,) = await world.schools.opted_in(new_uai())
    await school.execute(_MANY, school.uai, number)
    await school.execute(_RECORDS)
    await school.execute("ANALYZE")
    pupils = await school.fetch("SELECT id, match_key FROM pupil")
    async with world.database.begin() as tx:
        await tx.execute(_KNOWN, (school.uai, [row[0] for row in pupils], [row[1] for row in pupils]))
    return school


async def all_pages(desk: Desk, school: School, query: str) -> list[dict[str, Any]]:
    """Every item of the list."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = await desk.administrator(school, "GET", f"transferable-pupils?limit=200&{query}{cursor}")
        page = answer.json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize("query", ["", "order=leaving_date", "order=division", "search=eleve+4999"])
async def test_of_5000_former_pupils_the_first_page_takes_less_than_a_tenth_of_a_second(
    world: TransferWorld, desk: Desk, query: str
) -> None:
    school = await many_have_left(world, FORMER_PUPILS)
    await desk.listed(school, f"?{query}")  # connects

    async def taken() -> float:
        began = time.perf_counter()
        await desk.listed(school, f"?{query}")
        return time.perf_counter() - began

    seconds = [await taken() for _ in range(15)]
    median, fastest = statistics.median(seconds) * 1000, min(seconds) * 1000
    _log.warning("%s: median %.1f ms, fastest %.1f ms", query or "order=name", median, fastest)
    # The fastest: what the machine does beside it is not the list's.
    assert min(seconds) < FIRST_PAGE_SECONDS


@pytest.mark.parametrize("order", ["name", "leaving_date", "division"])
async def test_the_pages_of_every_order_hold_everyone_once_and_in_order(
    world: TransferWorld, desk: Desk, order: str
) -> None:
    school = await many_have_left(world, 430)

    items = await all_pages(desk, school, f"order={order}")

    def place(item: dict[str, Any]) -> tuple[Any, ...]:
        name = (item["pupil"]["family_name"], item["pupil"]["first_name"])
        if order == "leaving_date":
            return (item["leaving_date"] is None, *(-ord(c) for c in item["leaving_date"] or ""), *name)
        return (item["division"] is None, item["division"] or "", *name) if order == "division" else name

    assert len({item["pupil"]["id"] for item in items}) == len(items) == 430
    assert [place(item) for item in items] == sorted(place(item) for item in items)
    assert {item["records"]["report"] for item in items} == {3}


async def test_a_search_finds_all_words_anywhere_in_the_names_whatever_the_accents(
    world: TransferWorld, desk: Desk
) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    for family_name, first_name in (
        ("LEFÈVRE-CŒUR", "Zoé"), ("LEFEVRE", "Zoe"), ("LEFORT", "Zoé"), ("D'AVRIL", "Léa"), ("100%", "Ève"),
    ):  # fmt: skip
        await school.loses(await school.has(None, family_name=family_name, first_name=first_name))

    async def found(search: str) -> list[str]:
        answer = await desk.administrator(school, "GET", "transferable-pupils?search=" + search)
        return [item["pupil"]["family_name"] for item in answer.json()["items"]]

    assert await found("zoé lefevre") == ["LEFEVRE", "LEFÈVRE-CŒUR"]
    assert await found("COEUR") == ["LEFÈVRE-CŒUR"]
    assert await found("d'avril") == ["D'AVRIL"]
    assert await found("%25") == ["100%"]
    assert await found("_") == []


async def test_a_cursor_of_another_order_is_refused(world: TransferWorld, desk: Desk) -> None:
    school = await many_have_left(world, 3)
    page = (await desk.administrator(school, "GET", "transferable-pupils?limit=1")).json()

    refused = await desk.administrator(
        school, "GET", f"transferable-pupils?limit=1&order=division&cursor={page['next_cursor']}"
    )

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
