"""Dead letters in the transfer database: entered as their topics are read, listed, and settled once."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from cpro_platform.auth import Role
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_transfer.adapters.audit_trail import AuditTrail
from cpro_transfer.domain.dead_letters import Choice, Letter, LetterCount, LetterState, Settling
from cpro_transfer.domain.support import Action, AuditEntry, Order
from cpro_transfer.ports.letters import FoundLetter

_COLUMNS = """id, topic, partition, "offset", set_aside_at, cause, detail, consumer_group AS "group", event_type, uai,
    key, value, header_names, header_values, replay_of, state, settled_at, settled_by, ticket, reason, request_id"""
ANY_LETTER = Choice()
_ENTER = """
INSERT INTO dead_letter (id, letters_topic, letters_partition, letters_offset, set_aside_at, topic, partition, "offset",
    cause, detail, consumer_group, event_type, uai, key, value, header_names, header_values, replay_of)
VALUES (%(id)s, %(letters_topic)s, %(letters_partition)s, %(letters_offset)s, %(set_aside_at)s, %(topic)s,
    %(partition)s, %(offset)s, %(cause)s, %(detail)s, %(group)s, %(event_type)s, %(uai)s, %(key)s, %(value)s,
    %(header_names)s, %(header_values)s, %(replay_of)s)
ON CONFLICT DO NOTHING
"""
_READ_UP_TO = """
SELECT letters_topic, letters_partition, max(letters_offset) + 1 FROM dead_letter
GROUP BY letters_topic, letters_partition
"""
_COUNTS = """
SELECT topic, cause, state, count(*) AS number, min(set_aside_at) AS oldest, max(set_aside_at) AS newest
FROM dead_letter WHERE {conditions} GROUP BY topic, cause, state ORDER BY topic, cause, state
"""
# In the order of their ids, for two who lock some in two orders would deadlock.
_LOCK = f"SELECT {_COLUMNS} FROM dead_letter WHERE id = ANY (%s) ORDER BY id FOR UPDATE"
_SETTLE = """
UPDATE dead_letter SET state = %(state)s, settled_at = %(now)s, settled_by = %(by)s, ticket = %(ticket)s,
    reason = %(reason)s, request_id = %(request_id)s
WHERE id = ANY (%(ids)s) AND state = 'waiting'
RETURNING id, uai, topic, cause
"""
_ACTIONS = {
    LetterState.REPLAYED: Action.LETTER_REPLAYED,
    LetterState.SUPERSEDED: Action.LETTER_SUPERSEDED,
    LetterState.DISCARDED: Action.LETTER_DISCARDED,
}


class LockedLetters:
    """Letters that nobody else can settle meanwhile. Implements `ports.LockedLetters`."""

    def __init__(self, tx: Connection, clock: Clock, letters: Sequence[Letter]) -> None:
        self.letters = letters
        self._tx = tx
        self._clock = clock

    async def settle(self, ids: Collection[UUID], state: LetterState, settling: Settling) -> None:
        """Note what became of these, and in the audit trail who decided it."""
        arguments = {
            "ids": list(ids), "state": state, "now": self._clock.now(), "by": settling.by, "ticket": settling.ticket,
            "reason": settling.reason, "request_id": settling.request_id,
        }  # fmt: skip
        settled = await self._tx.execute(_SETTLE, arguments)
        order = Order(settling.by, Role.SUPPORT, settling.ticket)
        entries = [
            AuditEntry(
                order, _ACTIONS[state], subject_id=letter_id, origin_uai=uai, facts={"topic": topic, "cause": cause}
            )
            for letter_id, uai, topic, cause in await settled.fetchall()
        ]
        await AuditTrail.add(self._tx, *entries)


class PostgresLetters:
    """Implements `ports.Letters`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def enter(self, found: Sequence[FoundLetter]) -> None:
        """Write down what was read. Safe to repeat, and beside others who read the same."""
        async with self._database.begin() as tx, tx.cursor() as cursor:
            await cursor.executemany(_ENTER, [_row(one) for one in sorted(found, key=lambda one: one.letter.id)])

    async def read_up_to(self) -> dict[tuple[str, int], int]:
        """By topic of dead letters and partition: the offset to go on from."""
        async with self._database.begin() as tx:
            rows = await (await tx.execute(_READ_UP_TO)).fetchall()
        return {(topic, partition): offset for topic, partition, offset in rows}

    async def forget(self, kept: timedelta) -> None:
        """Delete what is older than its topic keeps it."""
        async with self._database.begin() as tx:
            await tx.execute("DELETE FROM dead_letter WHERE set_aside_at < %s", (self._clock.now() - kept,))

    async def page(
        self,
        *,
        topic: str | None,
        cause: str | None,
        state: LetterState | None,
        after: tuple[datetime, UUID] | None,
        limit: int,
    ) -> list[Letter]:
        """Some letters, the newest first, after the given position."""
        conditions, arguments = _conditions({"topic": topic, "cause": cause, "state": state})
        if after is not None:
            conditions += " AND (set_aside_at, id) < (%(time)s, %(id)s)"
            arguments |= {"time": after[0], "id": after[1]}
        query = f"""SELECT {_COLUMNS} FROM dead_letter WHERE {conditions}
            ORDER BY set_aside_at DESC, id DESC LIMIT %(limit)s"""
        async with self._database.begin() as tx:
            return await _letters(tx, query, arguments | {"limit": limit})

    async def counts(self, choice: Choice = ANY_LETTER) -> list[LetterCount]:
        """How many there are, by topic, cause and state."""
        conditions, arguments = _conditions({"topic": choice.topic, "cause": choice.cause})
        if choice.ids:
            conditions += " AND id = ANY (%(ids)s)"
            arguments["ids"] = list(choice.ids)
        async with self._database.begin() as tx, tx.cursor(row_factory=class_row(LetterCount)) as cursor:
            await cursor.execute(_COUNTS.format(conditions=conditions), arguments)
            return await cursor.fetchall()

    async def groups(self, state: LetterState) -> dict[str, int]:
        """How many letters in this state each consumer group has set aside."""
        query = "SELECT consumer_group, count(*) FROM dead_letter WHERE state = %s GROUP BY consumer_group"
        async with self._database.begin() as tx:
            rows = await (await tx.execute(query, (state,))).fetchall()
        return {str(row[0]): int(row[1]) for row in rows}

    async def find(self, ids: Sequence[UUID]) -> list[Letter]:
        """Those of these that there are."""
        async with self._database.begin() as tx:
            return await _letters(tx, f"SELECT {_COLUMNS} FROM dead_letter WHERE id = ANY (%s)", (list(ids),))

    @asynccontextmanager
    async def locked(self, choice: Choice, limit: int) -> AsyncIterator[LockedLetters]:
        """The chosen letters, `limit` at most of a topic and cause. Committed on leaving the block.

        Who comes second waits, and then sees what the first has made of them.
        """
        async with self._database.begin() as tx:
            ids = list(choice.ids) or await _oldest_waiting(tx, choice, limit)
            letters = await _letters(tx, _LOCK, (ids,))
            if not choice.ids:
                letters = [letter for letter in letters if letter.state is LetterState.WAITING]
            yield LockedLetters(tx, self._clock, letters)


async def _oldest_waiting(tx: Connection, choice: Choice, limit: int) -> list[UUID]:
    conditions, arguments = _conditions({"topic": choice.topic, "cause": choice.cause, "state": LetterState.WAITING})
    query = f"SELECT id FROM dead_letter WHERE {conditions} ORDER BY set_aside_at, id LIMIT %(limit)s"
    rows = await (await tx.execute(query, arguments | {"limit": limit})).fetchall()
    return [row[0] for row in rows]


def _conditions(wanted: dict[str, str | None]) -> tuple[str, dict[str, Any]]:
    given = {name: value for name, value in wanted.items() if value is not None}
    return " AND ".join(["true", *(f"{name} = %({name})s" for name in given)]), dict(given)


async def _letters(tx: Connection, query: str, arguments: dict[str, Any] | tuple[object, ...]) -> list[Letter]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(query, arguments)).fetchall()
    letters = []
    for row in rows:
        names, values = row.pop("header_names"), row.pop("header_values")
        headers = tuple((name.decode(), value) for name, value in zip(names, values, strict=True))
        letters.append(Letter(**row | {"headers": headers, "state": LetterState(row["state"])}))
    return letters


def _row(found: FoundLetter) -> dict[str, Any]:
    letter = found.letter
    return {
        "id": letter.id, "letters_topic": found.topic, "letters_partition": found.partition,
        "letters_offset": found.offset, "set_aside_at": letter.set_aside_at, "topic": letter.topic,
        "partition": letter.partition, "offset": letter.offset, "cause": letter.cause, "detail": letter.detail,
        "group": letter.group, "event_type": letter.event_type, "uai": letter.uai, "key": letter.key,
        "value": letter.value, "header_names": [name.encode() for name, _ in letter.headers],
        "header_values": [value for _, value in letter.headers], "replay_of": letter.replay_of,
    }  # fmt: skip
