"""Replays in the transfer database: one row a replay, one a school in it, which is where it goes on after anything.

Who works on a replay holds its row for the length of one batch. A process that dies lets go of it with its connection;
what it had published and not noted is published again, which nobody minds.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from cpro_platform.auth import Role
from cpro_platform.database import Connection, Database
from cpro_transfer.adapters.audit_trail import AuditTrail
from cpro_transfer.domain.event_replays import EventReplay, ReplayState, SchoolReplay, Selection
from cpro_transfer.domain.support import Action, AuditEntry, Order
from cpro_transfer.ports.event_replays import LogCount, ReplayTurn

_PUT_OFF_SECONDS = 30
_ENTER = """
INSERT INTO event_replay (id, uais, pupil_id, import_id, published_from, published_to, events_per_second, ticket,
    requested_by)
VALUES (%(id)s, %(uais)s, %(pupil_id)s, %(import_id)s, %(from)s, %(to)s, %(rate)s, %(ticket)s, %(by)s)
ON CONFLICT DO NOTHING RETURNING id
"""
_ENTER_SCHOOLS = "INSERT INTO event_replay_school (replay_id, uai) SELECT %s, unnest(%s::text[])"
_REPLAYS = """
SELECT r.*, s.* FROM event_replay r CROSS JOIN LATERAL (
    SELECT count(*) AS schools, count(*) FILTER (WHERE NOT done) AS schools_left,
        coalesce(sum(expected), 0) AS expected, coalesce(sum(published), 0) AS published,
        count(*) FILTER (WHERE NOT done AND trouble IS NOT NULL) AS in_trouble,
        (SELECT jsonb_object_agg(type, number) FROM (
            SELECT type, sum(number::bigint) AS number
            FROM event_replay_school c, jsonb_each_text(c.counts) AS each (type, number)
            WHERE c.replay_id = r.id GROUP BY type) AS by_type) AS counts
    FROM event_replay_school WHERE replay_id = r.id) AS s
"""
_DUE = """
SELECT * FROM event_replay r WHERE state IN ('counting', 'running') AND next_at <= now() AND EXISTS (
    SELECT FROM event_replay_school WHERE replay_id = r.id AND NOT done AND due_at <= now())
ORDER BY next_at FOR UPDATE SKIP LOCKED LIMIT 1
"""
_SCHOOL = """
SELECT uai, position, last_position FROM event_replay_school
WHERE replay_id = %s AND NOT done AND due_at <= now() ORDER BY uai LIMIT 1
"""
_COUNTED = """
UPDATE event_replay_school SET counts = %(counts)s, expected = %(expected)s, last_position = %(last)s, done = true,
    trouble = NULL
WHERE replay_id = %(id)s AND uai = %(uai)s
"""
_PUBLISHED = """
UPDATE event_replay_school SET position = %(position)s, published = published + %(number)s, done = %(done)s,
    trouble = NULL
WHERE replay_id = %(id)s AND uai = %(uai)s
"""
_PACE = "UPDATE event_replay SET next_at = clock_timestamp() + make_interval(secs => %s) WHERE id = %s"
_NEXT_STATE = """
UPDATE event_replay r SET
    state = CASE state WHEN 'counting' THEN 'counted' ELSE 'completed' END,
    finished_at = CASE state WHEN 'running' THEN now() END
WHERE id = %s AND NOT EXISTS (SELECT FROM event_replay_school WHERE replay_id = r.id AND NOT done)
"""
_PUT_OFF = """
UPDATE event_replay_school SET trouble = %(trouble)s, due_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE replay_id = %(id)s AND uai = %(uai)s
"""
_START = """
UPDATE event_replay SET state = 'running', started_by = %(by)s, started_at = now(), next_at = now()
WHERE id = %(id)s AND state = 'counted' RETURNING id
"""
_CANCEL = """
UPDATE event_replay SET state = 'cancelled', cancelled_by = %(by)s, finished_at = now()
WHERE id = %(id)s AND state NOT IN ('completed', 'cancelled') RETURNING id
"""


_PARTS = """
SELECT s.uai, r.ticket, s.expected, s.published FROM event_replay_school s JOIN event_replay r ON r.id = s.replay_id
WHERE r.id = %s ORDER BY s.uai
"""


class HeldReplay:
    """Implements `ports.ReplayInHand`."""

    def __init__(self, tx: Connection, turn: ReplayTurn) -> None:
        self.turn = turn
        self._tx = tx
        self._place = {"id": turn.replay_id, "uai": turn.uai}

    async def note_count(self, count: LogCount) -> None:
        """This establishment is counted."""
        numbers = {
            "counts": Jsonb(dict(count.by_type)),
            "expected": sum(count.by_type.values()),
            "last": count.last_position,
        }
        await self._tx.execute(_COUNTED, self._place | numbers)
        await self._tx.execute(_NEXT_STATE, (self.turn.replay_id,))

    async def note_published(self, number: int, position: int, *, done: bool) -> None:
        """So many more events are on Kafka, up to this position."""
        await self._tx.execute(_PUBLISHED, self._place | {"number": number, "position": position, "done": done})
        await self._tx.execute(_PACE, (number / self.turn.events_per_second, self.turn.replay_id))
        await self._tx.execute(_NEXT_STATE, (self.turn.replay_id,))

    async def put_off(self, trouble: str) -> None:
        """This establishment can't be asked now; the others go on."""
        await self._tx.execute(_PUT_OFF, self._place | {"trouble": trouble, "seconds": _PUT_OFF_SECONDS})


class PostgresReplays:
    """Implements `ports.ReplayJobs`, and reads replays for the API."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(
        self, replay_id: UUID, selection: Selection, uais: Sequence[str], *, rate: int, ticket: str, by: str
    ) -> None:
        """Write a replay down, to be counted. One that is there already is left as it is."""
        arguments = {
            "id": replay_id, "uais": list(selection.uais), "pupil_id": selection.pupil_id,
            "import_id": selection.import_id, "from": selection.published_from, "to": selection.published_to,
            "rate": rate, "ticket": ticket, "by": by,
        }  # fmt: skip
        async with self._database.begin() as tx:
            if await (await tx.execute(_ENTER, arguments)).fetchone():
                await tx.execute(_ENTER_SCHOOLS, (replay_id, list(uais)))
                await tx.execute(_NEXT_STATE, (replay_id,))

    async def find(self, replay_id: UUID) -> EventReplay | None:
        """One replay, with what it comes to."""
        found = await self._read(f"{_REPLAYS} WHERE r.id = %(id)s", {"id": replay_id})
        return found[0] if found else None

    async def page(self, after: tuple[datetime, UUID] | None, limit: int) -> list[EventReplay]:
        """Some replays, the newest first, after the given position."""
        condition = "WHERE (r.requested_at, r.id) < (%(time)s, %(id)s)" if after else ""
        time, replay_id = after or (None, None)
        query = f"{_REPLAYS} {condition} ORDER BY r.requested_at DESC, r.id DESC LIMIT %(limit)s"
        return await self._read(query, {"time": time, "id": replay_id, "limit": limit})

    async def schools(self, replay_id: UUID, after: str, limit: int) -> list[SchoolReplay]:
        """What a replay comes to in each establishment, by UAI."""
        async with self._database.begin() as tx, tx.cursor(row_factory=class_row(SchoolReplay)) as cursor:
            await cursor.execute(
                "SELECT uai, counts, expected, published, done, trouble FROM event_replay_school"
                " WHERE replay_id = %s AND uai > %s ORDER BY uai LIMIT %s",
                (replay_id, after, limit),
            )
            return await cursor.fetchall()

    async def start(self, replay_id: UUID, by: str) -> bool:
        """Let one that is counted run. False: it is not counted, or has been started."""
        async with self._database.begin() as tx:
            if not await (await tx.execute(_START, {"id": replay_id, "by": by})).fetchone():
                return False
            await tx.execute(
                "UPDATE event_replay_school SET done = (expected = 0), due_at = now() WHERE replay_id = %s",
                (replay_id,),
            )
            await tx.execute(_NEXT_STATE, (replay_id,))
            await _write_down(tx, replay_id, by, Action.EVENTS_STARTED)
        return True

    async def cancel(self, replay_id: UUID, by: str) -> bool:
        """End one that has not ended; a batch under way is waited for. False: it has ended."""
        async with self._database.begin() as tx:
            if not await (await tx.execute(_CANCEL, {"id": replay_id, "by": by})).fetchone():
                return False
            await _write_down(tx, replay_id, by, Action.EVENTS_CANCELLED)
        return True

    @asynccontextmanager
    async def next(self) -> AsyncIterator[HeldReplay | None]:
        """What is due, if anything is. Committed on leaving the block; nobody else has the replay meanwhile."""
        async with self._database.begin() as tx:
            yield await self._take(tx)

    async def _take(self, tx: Connection) -> HeldReplay | None:
        async with tx.cursor(row_factory=dict_row) as cursor:
            replay = await (await cursor.execute(_DUE)).fetchone()
            if replay is None:
                return None
            school = await (await cursor.execute(_SCHOOL, (replay["id"],))).fetchone()
        if school is None:
            return None
        state, rate = ReplayState(replay["state"]), replay["events_per_second"]
        return HeldReplay(tx, ReplayTurn(replay["id"], state, _selection(replay), rate, **school))

    async def _read(self, query: str, arguments: dict[str, Any]) -> list[EventReplay]:
        async with self._database.begin() as tx, tx.cursor(row_factory=dict_row) as cursor:
            rows = await (await cursor.execute(query, arguments)).fetchall()
        return [_replay(row) for row in rows]


def _selection(row: dict[str, Any]) -> Selection:
    return Selection(tuple(row["uais"]), row["pupil_id"], row["import_id"], row["published_from"], row["published_to"])


def _replay(row: dict[str, Any]) -> EventReplay:
    same = (
        "id", "events_per_second", "ticket", "requested_by", "requested_at", "started_by", "started_at",
        "cancelled_by", "finished_at", "schools", "schools_left", "in_trouble",
    )  # fmt: skip
    return EventReplay(
        **{name: row[name] for name in same},
        state=ReplayState(row["state"]),
        selection=_selection(row),
        expected=int(row["expected"]),
        published=int(row["published"]),
        counts={name: int(number) for name, number in (row["counts"] or {}).items()},
    )


async def _write_down(tx: Connection, replay_id: UUID, by: str, action: Action) -> None:
    """In the audit trail, for each establishment that the replay speaks for."""
    found = await tx.execute(_PARTS, (replay_id,))
    entries = [
        AuditEntry(
            Order(by, Role.SUPPORT, ticket), action, subject_id=replay_id, origin_uai=uai,
            facts={"expected": expected, "published": published},
        )
        for uai, ticket, expected, published in await found.fetchall()
    ]  # fmt: skip
    await AuditTrail.add(tx, *entries)
