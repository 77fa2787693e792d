"""The join in SQL: what the events say, and which transfers follow from it. One transaction a batch.

`join_sql.VERDICTS` is `domain.matching.decide` for a set of match keys; `tests/properties` holds one to the other.

Two transactions that each see half of the facts must not both conclude that the other half is missing. So:

- a batch of pupils locks its Kafka partitions (an advisory lock; a match key lives in one partition), then the rows of
  all establishments that its match keys touch (FOR SHARE), then derives;
- a change of an opt-in locks the establishment's row by updating it, then looks for the enrolments it touches; whoever
  changes establishments first takes a lock that all of them share, for two that touch each other's would deadlock;
- whoever derives first locks the live transfers of its match keys, which is what a mover changes.

In READ COMMITTED each statement sees what was committed before it began, so whoever comes second sees the first.

Of all this only match keys that a second establishment knows are in need: a transfer has two ends, and an enrolment
goes only with what it had called for, so under the others nothing was called for before, and nothing is after.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, Self

from psycopg.rows import dict_row

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_contracts.pupils import PupilDeactivated, PupilEvent, PupilWithdrawn
from cpro_contracts.transfers import Reason, TransferCancelled, TransferEvent, TransferHeld, TransferPlanned
from cpro_platform import crash_points, outbox, tracing
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_transfer.adapters import join_sql, rekeyed_pupils
from cpro_transfer.adapters.import_traces import ImportTraces
from cpro_transfer.ports.joining import Fact, Trace

SOURCE = "/services/transfer"
DUE_CHANNEL = "transfer_due"
_ESTABLISHMENTS = "establishments"
"""The place that whoever changes what is known of establishments locks, beside his partitions."""


class EnrolmentRow(NamedTuple):
    """What `enrolment` is to say: each value in PostgreSQL's own words, as within an array, for `join_sql.ENROL`.

    Nothing but the match key can hold a character that means something there: the rest are codes, numbers and times
    that the contract has passed. The event is not kept beside it: a batch read ahead is as small as it can be.
    """

    match_key: str
    uai: str
    pupil_id: str
    active: str
    withdrawn: str
    source: str
    ine_status: str
    revision: str
    import_id: str
    occurred_at: str
    event_time: str

    @classmethod
    def of(cls, event: PupilEvent, time: datetime) -> Self:
        """What this event says, which was committed at `time` where it happened."""
        withdrawn = isinstance(event, PupilWithdrawn)
        active = not withdrawn and not isinstance(event, PupilDeactivated)
        return cls(
            _quoted(event.match_key), event.uai, event.pupil_id.hex, "t" if active else "f", "t" if withdrawn else "f",
            event.source, event.ine_status, str(event.revision), event.import_id.hex if event.import_id else "NULL",
            event.occurred_at.isoformat(), _in_words(time),
        )  # fmt: skip


PreparedFact = EnrolmentRow | Fact
"""Of a pupil the row; of an establishment, and of a pupil with a new key, which are few, the fact as it came."""


def prepared(fact: Fact) -> PreparedFact:
    """What `Projection.apply` needs of a fact."""
    event = fact.event
    return EnrolmentRow.of(event, fact.time) if isinstance(event, PupilEvent) and event.formerly is None else fact


_NO_TRACES: Mapping[str, str | None] = MappingProxyType({})


class Projection:
    """Writes what events say and derives transfers, inside the caller's transaction."""

    def __init__(self, *, settling_seconds: float = 0) -> None:
        self._settling_seconds = settling_seconds

    async def apply(
        self,
        tx: Connection,
        facts: Sequence[PreparedFact],
        partitions: Iterable[str],
        traces: Mapping[str, str | None] = _NO_TRACES,
    ) -> list[tuple[TransferEvent, str | None]]:
        """Take in a batch, and plan or cancel what follows. Returns the events to publish, each with its trace.

        `traces` says to which trace belongs what follows from the facts under a match key, or of an establishment (by
        its UAI); what else follows belongs to the one under way.

        Safe to repeat and to reorder: a revision that is not higher than the known one changes nothing.
        """
        rows = [fact for fact in facts if isinstance(fact, EnrolmentRow)]
        of_establishments = []
        rekeyed: list[PupilEvent] = []
        for fact in facts:
            if isinstance(fact, EnrolmentRow):
                continue
            if isinstance(fact.event, PupilEvent):
                rekeyed.append(fact.event)
                rows.append(EnrolmentRow.of(fact.event, fact.time))
            else:
                of_establishments.append(fact)
        places = {*partitions} | ({_ESTABLISHMENTS} if of_establishments else set())
        # A pipeline spares the waits between statements; each still sees what was committed before it began.
        async with tx.pipeline():
            await tx.execute(join_sql.LOCK_PLACES, (sorted(places),))
            touched = await self._enrol(tx, rows) if rows else set()
        if touched and of_establishments:
            # Before the first of them is changed: new ones are made in one order by all.
            await tx.execute(join_sql.KNOW_ESTABLISHMENTS, (_array(map(_quoted, touched)),))
        opened_or_closed = await self._note_establishments(tx, of_establishments)
        # A pupil's event that came again in the same batch has called for nothing.
        of_keys = {key: traces.get(uai) for key, uai in opened_or_closed.items()}
        of_keys |= {key: traces[key] for key in touched if key in traces}
        touched |= opened_or_closed.keys()
        touched |= await rekeyed_pupils.carry_over(tx, rekeyed)
        events = await self.derive(tx, sorted(touched), of_keys)
        return [(event, of_keys.get(event.match_key) or tracing.current_traceparent()) for event in events]

    async def derive(
        self, tx: Connection, match_keys: Sequence[str], traces: Mapping[str, str | None] = _NO_TRACES
    ) -> list[TransferEvent]:
        """Plan, hold or cancel transfers so that they agree with the facts under these match keys."""
        if not match_keys:
            return []
        in_one_text = _array(map(_quoted, match_keys))
        keys = (in_one_text,)
        arguments = {
            "match_keys": in_one_text,
            "settling_seconds": self._settling_seconds,
            "traceparent": (current := tracing.current_traceparent()),
            # Those of another trace only: mostly all that a batch holds was told by one import.
            "traces": json.dumps({key: traces[key] for key in match_keys if (traces.get(key) or current) != current}),
        }
        async with tx.pipeline():
            await tx.execute(join_sql.KNOW_ESTABLISHMENTS, keys)
            await tx.execute(join_sql.LOCK_ESTABLISHMENTS, keys)
            await tx.execute(join_sql.LOCK_TRANSFERS, keys)
            (any_live,) = await (await tx.execute(join_sql.ANY_LIVE, keys)).fetchone() or (False,)
        changed = []
        async with tx.cursor(row_factory=dict_row) as cursor:
            if any_live:
                await cursor.execute(join_sql.LET_GO_ON, arguments)
                await cursor.execute(join_sql.CANCEL, arguments)
                changed = [row for row in await cursor.fetchall() if row["state"] == "cancelled"]
            await cursor.execute(join_sql.PLAN, arguments)
            changed += await cursor.fetchall()
            if any(row["state"] == "planned" for row in changed):
                await cursor.execute("SELECT pg_notify(%s, '')", (DUE_CHANNEL,))
        return [event_of(row) for row in changed]

    async def _enrol(self, tx: Connection, rows: Sequence[EnrolmentRow]) -> set[str]:
        """Note what is newer than what is known; the changed match keys that more than one establishment knows."""
        newest: dict[tuple[str, ...], EnrolmentRow] = {}
        for row in rows:
            place = row[:2]
            known = newest.setdefault(place, row)
            if known is not row and int(row.revision) > int(known.revision):
                newest[place] = row
        columns = [_array(column) for column in zip(*newest.values(), strict=True)]
        return {str(found[0]) for found in await (await tx.execute(join_sql.ENROL, columns)).fetchall()}

    async def _note_establishments(self, tx: Connection, facts: Sequence[Fact]) -> dict[str, str]:
        """Note what is newer; the match keys that it may decide, each with one of the UAIs that changed."""
        changed: set[str] = set()
        for fact in sorted(facts, key=lambda fact: (fact.event.uai, fact.event.revision)):
            event = fact.event
            if isinstance(event, EstablishmentUpdated):
                await tx.execute(join_sql.UPSERT_SHEET, (event.uai, event.name, event.revision))
            elif isinstance(event, TransferOptInChanged):
                said = (event.uai, event.enabled, event.roster_source, event.revision, event.occurred_at, fact.time)
                changed |= {str(row[0]) for row in await (await tx.execute(join_sql.UPSERT_OPT_IN, said)).fetchall()}
        if not changed:
            return {}
        return dict(await (await tx.execute(join_sql.MATCH_KEYS_OF, (sorted(changed),))).fetchall())


def _array(elements: Iterable[str]) -> str:
    """An array in PostgreSQL's own words. Written here, for the driver takes 2 µs for each value of a list."""
    return "{" + ",".join(elements) + "}"


_in_words = lru_cache(maxsize=1_000)(datetime.isoformat)
"""Of the times at which transactions committed: all that an import publishes has the same."""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if "\\" in text else text[1:-1]


def event_of(row: dict[str, object]) -> TransferEvent:
    """What to publish of a transfer that has just changed."""
    common = {
        "transfer_id": row["id"],
        "match_key": row["match_key"],
        "origin_uai": row["origin_uai"],
        "origin_pupil_id": row["origin_pupil_id"],
        "origin_revision": row["origin_revision"],
        "destination_uai": row["destination_uai"],
        "destination_pupil_id": row["destination_pupil_id"],
        "occurred_at": row["state_changed_at"],
    }
    if row["state"] == "planned":
        return TransferPlanned.model_validate(common)
    kind = TransferHeld if row["state"] == "held" else TransferCancelled
    return kind.model_validate(common | {"reason": Reason(str(row["reason"]))})


class PostgresFacts:
    """The facts of the join, in the transfer database."""

    def __init__(self, database: Database, projection: Projection, clock: Clock) -> None:
        self._database = database
        self._projection = projection
        self._clock = clock
        self._imports = ImportTraces(database)

    def prepare(self, fact: Fact) -> PreparedFact:
        """The fact with the row that it becomes."""
        return prepared(fact)

    async def take_in(
        self, facts: Sequence[PreparedFact], partitions: Iterable[str], traces: Sequence[Trace] = ()
    ) -> None:
        """Note the facts and what follows from them: transfers planned, held or cancelled, with their events.

        One transaction, after one for the traces of new imports. Safe to repeat, in any order, after any time.
        """
        of_facts = list(zip(facts, traces, strict=True)) if traces else []
        await self._imports.note(_told_by_imports(of_facts))
        traces_of_facts = dict(_traces(of_facts))
        async with self._database.begin() as tx:
            told = await self._projection.apply(tx, facts, partitions, traces_of_facts)
            events, of_events = [event for event, _ in told], [traceparent for _, traceparent in told]
            await outbox.add(tx, events, source=SOURCE, clock=self._clock, traceparents=of_events)
            crash_points.reach("join.applied")


def _told_by_imports(facts: Iterable[tuple[PreparedFact, Trace]]) -> dict[str, str]:
    return {
        fact.import_id: trace.came_with
        for fact, trace in facts
        if isinstance(fact, EnrolmentRow) and fact.import_id != "NULL" and trace.came_with is not None
    }


def _traces(facts: Iterable[tuple[PreparedFact, Trace]]) -> Iterator[tuple[str, str | None]]:
    for fact, trace in facts:
        if isinstance(fact, EnrolmentRow):
            yield _unquoted(fact.match_key), trace.goes_on_as
        elif isinstance(fact.event, PupilEvent):
            yield fact.event.match_key, trace.goes_on_as
        else:
            yield fact.event.uai, trace.goes_on_as
