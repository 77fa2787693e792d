"""`records.verify` for hundreds of thousands of records: after everything, is each where its pupil is, once and unchanged?

Knows nothing of the mover. The content of a row is compared by a digest that the database makes of the row itself,
taken when the records had been written and again at the end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from functools import partial
from hashlib import sha256
from typing import TypeVar
from uuid import UUID

import psycopg

from cpro_platform.database import Connection
from cpro_platform.object_store import ObjectMissingError, ObjectStore
from cpro_test_support.records import TABLES

_AT_ONCE = 8
_SAME_EVERYWHERE = "md5((to_jsonb(t) - 'pupil_id' - 'object_key')::text)"
_RECEIPTS = """
SELECT r.direction, r.transfer_id, p.ine, r.other_uai, md5(r.tables::text)
FROM transfer_receipt r JOIN pupil p ON p.id = r.pupil_id
"""

Record = tuple[str, UUID]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Content:
    """A row: whose it is, and a digest of all that does not belong to the place."""

    ine: str
    digest: str


@dataclass(frozen=True, slots=True)
class Move:
    """A pupil whose records must have gone from one establishment to another."""

    ine: str
    origin: str
    destination: str


@dataclass(frozen=True, slots=True)
class Findings:
    """How many of each: all zero is what must be."""

    lost: int
    """In no database."""
    doubled: int
    """In more than one."""
    changed: int
    """With another content, or of another pupil."""
    misplaced: int
    """In one database, and the pupil is elsewhere."""
    unwritten: int
    """That nobody wrote."""
    broken_files: int
    """Missing in the store, or with other bytes."""
    unnamed_files: int
    """Objects that no record names."""
    without_receipts: int
    """Moves without two receipts that say the same."""
    unexpected_receipts: int
    """Receipts beyond the two of each move."""
    holds: int

    @property
    def clean(self) -> bool:
        """Whether all is as it must be."""
        return not any(astuple(self))

    def __str__(self) -> str:
        """Each figure with its name."""
        return ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))


async def written(tenants: Mapping[str, str]) -> dict[Record, Content]:
    """Every record in every tenant (UAI to connection string), to be compared with later."""
    found: dict[Record, Content] = {}
    for rows in await _of_each(tenants, _rows):
        found |= rows
    return found


async def verify_in_bulk(
    seeded: Mapping[Record, Content],
    tenants: Mapping[str, str],
    store: ObjectStore,
    *,
    homes: Mapping[str, str],
    moves: Collection[Move],
) -> Findings:
    """Look for every record in every tenant, for every file in the store, and for the receipts of every move.

    Args:
        seeded: what was written.
        tenants: UAI to connection string.
        store: of the files.
        homes: where each pupil is now: INE to UAI.
        moves: which transfers there must have been.
    """
    places: dict[Record, list[str]] = {}
    changed = 0
    for uai, rows in zip(tenants, await _of_each(tenants, _rows), strict=True):
        for record, content in rows.items():
            places.setdefault(record, []).append(uai)
            changed += seeded.get(record, content) != content
    alone = {record: found[0] for record, found in places.items() if len(found) == 1}
    broken, unnamed = await _check_files(tenants, store)
    missing, unexpected = await _check_receipts(tenants, moves)
    return Findings(
        lost=sum(record not in places for record in seeded),
        doubled=sum(len(found) > 1 for found in places.values()),
        changed=changed,
        misplaced=sum(uai != homes[seeded[record].ine] for record, uai in alone.items() if record in seeded),
        unwritten=sum(record not in seeded for record in places),
        broken_files=broken,
        unnamed_files=unnamed,
        without_receipts=missing,
        unexpected_receipts=unexpected,
        holds=sum(await _of_each(tenants, _holds)),
    )


async def _rows(connection: Connection) -> dict[Record, Content]:
    found: dict[Record, Content] = {}
    for table in TABLES:
        through = "JOIN professional_passport o ON o.id = t.passport_id" if table == "passport_entry" else ""
        owner = "o.pupil_id" if through else "t.pupil_id"
        rows = await connection.execute(
            f"SELECT t.id, p.ine, {_SAME_EVERYWHERE} FROM {table} t {through} JOIN pupil p ON p.id = {owner}"
        )
        found |= {(table, row_id): Content(ine, digest) for row_id, ine, digest in await rows.fetchall()}
    return found


async def _holds(connection: Connection) -> int:
    row = await (await connection.execute("SELECT count(*) FROM transfer_hold")).fetchone()
    assert row is not None
    return int(row[0])


async def _check_files(tenants: Mapping[str, str], store: ObjectStore) -> tuple[int, int]:
    """How many records have no readable file, and how many objects have no record."""

    async def files(connection: Connection) -> list[tuple[str, str]]:
        rows = await connection.execute("SELECT object_key, sha256 FROM attachment")
        return [(key, digest) for key, digest in await rows.fetchall()]

    named = dict(file for found in await _of_each(tenants, files) for file in found)

    async def broken(key: str, digest: str) -> bool:
        try:
            return sha256(await store.get(key)).hexdigest() != digest
        except ObjectMissingError:
            return True

    results = await _some_at_once(partial(broken, key, digest) for key, digest in named.items())
    pages = await _some_at_once(partial(store.list, f"tenants/{uai}/") for uai in tenants)
    stored = {entry.key for page in pages for entry in page}
    return sum(results), len(stored - named.keys())


async def _check_receipts(tenants: Mapping[str, str], moves: Collection[Move]) -> tuple[int, int]:
    """How many moves have no two receipts that agree, and how many receipts there are beyond those."""

    async def receipts(connection: Connection) -> list[tuple[str, UUID, str, str, str]]:
        return [row[:5] for row in await (await connection.execute(_RECEIPTS)).fetchall()]

    ends: dict[str, dict[tuple[UUID, str], Move]] = {"outgoing": {}, "incoming": {}}
    number = 0
    for uai, found in zip(tenants, await _of_each(tenants, receipts), strict=True):
        number += len(found)
        for direction, transfer_id, ine, other_uai, digest in found:
            move = Move(ine, uai, other_uai) if direction == "outgoing" else Move(ine, other_uai, uai)
            ends[direction][transfer_id, digest] = move
    agreeing = {move for key, move in ends["outgoing"].items() if ends["incoming"].get(key) == move}
    as_called_for = agreeing & set(moves)
    return len(set(moves)) - len(as_called_for), number - 2 * len(as_called_for)


async def _of_each(tenants: Mapping[str, str], look: Callable[[Connection], Awaitable[T]]) -> list[T]:
    """What `look` finds in each tenant, in their order."""

    async def one(conninfo: str) -> T:
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            return await look(connection)

    return await _some_at_once(partial(one, conninfo) for conninfo in tenants.values())


async def _some_at_once(calls: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def in_turn(call: Callable[[], Awaitable[T]]) -> T:
        async with turns:
            return await call()

    return list(await asyncio.gather(*(in_turn(call) for call in calls)))
