"""At the end: every record in every tenant database, and every file in the store, against what was seeded."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import psycopg
from psycopg import sql

from cpro_embedded.demo.administrator import Administrator, Json
from cpro_embedded.demo.schools import SCHOOLS
from cpro_embedded.demo.story import Story
from cpro_embedded.demo.waiting import until
from cpro_embedded.demo.world import Pupil, World
from cpro_test_support.records import TABLES, Verdict, verify

_IN_FLIGHT = {"planned", "holding", "copying", "landed"}
_REQUESTS_AT_ONCE = 4

Record = tuple[str, UUID]
Return = tuple[str | None, str | None]
Person = tuple[str, str, date, str | None]


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found. `problems` is empty when everything is as it must be."""

    moved: int
    expected: int
    verdict: Verdict
    explanations: Sequence[Json]
    """In the order of the story's waits."""
    problems: Sequence[str]


async def check(story: Story) -> Findings:
    """Compare everything with what the story must have come to, once nothing is under way any more."""
    world = story.world
    ended = await _at_rest(world)
    verdict = await verify(world.seeded, {school.uai: world.conninfo(school) for school in SCHOOLS}, world.store)
    explanations = [
        await world.administrators[wait.pupil.origin.uai].explanation(wait.pupil.ids[wait.pupil.origin.uai])
        for wait in story.waits
    ]
    expected = sum(len(way.pupils) for way in story.ways)
    standing, undone = _counted(ended)
    counted = {
        "transfers too many or too few": abs(len(standing) - expected),
        "transfers undone that should not be, or not undone that should": len(undone ^ _undone(story)),
        "records lost": len(verdict.lost),
        "records doubled": len(verdict.doubled),
        "records changed": len(verdict.changed),
        "files broken": len(verdict.broken_files),
        "records that nobody wrote": len(verdict.places.keys() - world.seeded.rows.keys()),
        "records at another school than expected": len(_misplaced(world, verdict)),
        "records of another person than expected": len(await _misattributed(world)),
        "files that no record names": len(await _unnamed_files(world)),
        "transfers without two receipts that say the same": await _without_receipts(story),
        "pupils whose records wait for another reason than expected": sum(
            explained["code"] != wait.code for wait, explained in zip(story.waits, explanations, strict=True)
        ),
    }
    problems = [f"{number} {what}" for what, number in counted.items() if number]
    return Findings(len(standing), expected, verdict, explanations, problems)


async def _at_rest(world: World) -> list[Json]:
    """Wait until no transfer is under way; returns those of all schools."""

    async def look() -> list[Json]:
        found = await asyncio.gather(*(administrator.outgoing() for administrator in world.administrators.values()))
        return [transfer for transfers in found for transfer in transfers]

    return await until(
        "no transfer is under way", look, lambda found: not any(one["state"] in _IN_FLIGHT for one in found)
    )


def _counted(transfers: Sequence[Json]) -> tuple[set[str], set[Return]]:
    """The completed transfers that stand, and those that were undone, each with the transfer back.

    What went and came back is where it was: neither way counts as moved.
    """
    completed = [one for one in transfers if one["state"] == "completed"]
    backs = {one["undoes"]: one["id"] for one in completed if one["undoes"]}
    undone = {(one["id"], backs.pop(one["id"], None)) for one in transfers if one["state"] == "undone"}
    # A way back of something that is not undone is in no pair.
    undone |= {(None, back) for back in backs.values()}
    return {one["id"] for one in completed if not one["undoes"]}, undone


def _undone(story: Story) -> set[Return]:
    return {(one.transfer_id, one.undo_id) for one in story.undone}


def _misplaced(world: World, verdict: Verdict) -> list[Record]:
    homes = {pupil.ids[pupil.origin.uai]: pupil.home.uai for pupil in world.pupils}
    return [
        record for record, owner in world.seeded.owners.items() if verdict.places.get(record, "") != homes[owner]
        and record not in verdict.lost
    ]  # fmt: skip


async def _misattributed(world: World) -> list[Record]:
    """Records that hang from a pupil who is not the person they were written for."""
    people: dict[UUID, Pupil] = {pupil.ids[pupil.origin.uai]: pupil for pupil in world.pupils}
    found: dict[Record, Person] = {}
    for school in SCHOOLS:
        async with await psycopg.AsyncConnection.connect(world.conninfo(school), autocommit=True) as connection:
            for table in TABLES:
                found |= await _owners(connection, table)
    wrong = []
    for record, owner in world.seeded.owners.items():
        sheet = people[owner].sheet
        person = (sheet.family_name, sheet.first_name, sheet.birth_date, sheet.ine)
        if found.get(record, person) != person:
            wrong.append(record)
    return wrong


async def _owners(connection: psycopg.AsyncConnection[tuple[object, ...]], table: str) -> dict[Record, Person]:
    through_passport = table == "passport_entry"
    query = sql.SQL("""
        SELECT t.id, p.family_name, p.first_name, p.birth_date, p.ine
        FROM {table} t {join} JOIN pupil p ON p.id = {owner}
    """).format(
        table=sql.Identifier(table),
        join=sql.SQL("JOIN professional_passport o ON o.id = t.passport_id" if through_passport else ""),
        owner=sql.SQL("o.pupil_id" if through_passport else "t.pupil_id"),
    )
    rows = await (await connection.execute(query)).fetchall()
    return {(table, row_id): (family, first, born, ine) for row_id, family, first, born, ine in rows}  # type: ignore[misc]


async def _unnamed_files(world: World) -> set[str]:
    """Objects that no attachment of any school names: copies or originals that a move has left behind."""
    named: set[str] = set()
    for school in SCHOOLS:
        async with await psycopg.AsyncConnection.connect(world.conninfo(school), autocommit=True) as connection:
            rows = await (await connection.execute("SELECT object_key FROM attachment")).fetchall()
            named |= {row[0] for row in rows}
    return {stored.key for stored in await world.store.list("tenants/")} - named


async def _without_receipts(story: Story) -> int:
    administrators = story.world.administrators
    turns = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    async def agree(administrator: Administrator, transfer_id: str) -> bool:
        async with turns:
            return _receipts_agree((await administrator.transfer(transfer_id))["receipts"])

    asked = [(way.destination.uai, transfer["id"]) for way in story.ways for transfer in way.transfers]
    asked += [(one.pupil.origin.uai, either) for one in story.undone for either in (one.transfer_id, one.undo_id)]
    answers = await asyncio.gather(*(agree(administrators[uai], transfer_id) for uai, transfer_id in asked))
    return answers.count(False)


_OF_ONE_END = frozenset({"written_at", "chain"})


def _receipts_agree(receipts: Mapping[str, Json | None]) -> bool:
    outgoing, incoming = receipts["outgoing"], receipts["incoming"]
    if outgoing is None or incoming is None:
        return False
    return all(outgoing[said] == incoming[said] for said in outgoing if said not in _OF_ONE_END)
