"""The transfer database, as it is compared with the establishments' databases and brought to their word.

What only the join may decide is left to the join: nothing here writes what an event says. Two things no event tells,
and they are written here: which transfers there are in the establishments' databases, and from which revisions the
records have left.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_platform import outbox
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_transfer.adapters.projection import DUE_CHANNEL, SOURCE, Projection
from cpro_transfer.domain.reconciliation import KnownEnrolment, KnownState, OptIn, PupilTruth
from cpro_transfer.domain.transfer_traces import Entry, RestoredTransfer
from cpro_transfer.domain.transfers import TransferState

_ENROLMENTS = """
SELECT match_key, pupil_id, active, withdrawn, source, ine_status, revision, moved_at_revision
FROM enrolment WHERE uai = %s
"""
_OPT_IN = "SELECT opted_in AS enabled, roster_source, opt_in_revision AS revision FROM establishment WHERE uai = %s"
_MOVING = """
SELECT origin_pupil_id FROM transfer WHERE origin_uai = %s AND state IN ('holding', 'copying', 'landed')
"""
_ENTRIES = """
SELECT id, state, epoch, origin_uai, destination_uai, origin_pupil_id, state_changed_at FROM transfer
WHERE origin_uai = %(uai)s OR destination_uai = %(uai)s
"""
_CANDIDATES = """
SELECT match_key, array_agg(uai ORDER BY active DESC, uai) FROM enrolment
WHERE match_key = ANY (%s) AND uai <> %s AND NOT withdrawn GROUP BY match_key
"""
# Both establishments of a transfer may be reconciled at once, and both find it unknown.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('transfers entered again'))"
_RIVALS = """
SELECT id, match_key, origin_uai, origin_revision, destination_uai, state FROM transfer
WHERE id = ANY (%(ids)s) OR (match_key, origin_uai, origin_revision, destination_uai) IN (
    SELECT * FROM unnest(%(keys)s::text[], %(origins)s::text[], %(revisions)s::bigint[], %(destinations)s::text[]))
ORDER BY id FOR UPDATE
"""
_GIVE_WAY = "DELETE FROM transfer WHERE id = ANY (%s)"
_ENTER = """
INSERT INTO transfer (id, match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai,
    destination_pupil_id, destination_revision, origin_opt_in_revision, destination_opt_in_revision, state, epoch,
    due_at, records, called_for_at, planned_at, state_changed_at, landed_at, finished_at, completed_at, undoes, ticket)
VALUES (%(id)s, %(match_key)s, %(origin_uai)s, %(origin_pupil_id)s, %(origin_revision)s, %(destination_uai)s,
    %(destination_pupil_id)s, %(destination_revision)s, %(origin_opt_in_revision)s, %(destination_opt_in_revision)s,
    %(state)s, %(epoch)s, CASE WHEN %(finished_at)s::timestamptz IS NULL THEN clock_timestamp() END,
    CASE WHEN %(finished_at)s::timestamptz IS NOT NULL THEN %(records)s::integer END, %(called_for_at)s,
    %(called_for_at)s, coalesce(%(finished_at)s, now()), %(landed_at)s, %(finished_at)s, %(finished_at)s,
    %(undoes)s::uuid, CASE WHEN %(undoes)s::uuid IS NOT NULL THEN 'LOST-0' END)
-- The join may have planned another for the same facts just now: it gives way the next time.
ON CONFLICT DO NOTHING
"""
# Of an undo no database but the lost one knew the ticket.
_UNDONE_BY = """
UPDATE transfer t SET state = 'undone', state_changed_at = u.finished_at FROM transfer u
WHERE u.id = ANY (%s) AND u.state = 'completed' AND t.id = u.undoes AND t.state = 'completed'
"""
# A mover asks both databases: it takes away what holds a pupil for nothing, and goes forward with what has landed.
_CARRY_ON = """
UPDATE transfer t SET state = CASE WHEN t.state = 'completed' THEN 'landed' ELSE 'holding' END,
    cancel_requested = CASE WHEN t.state = 'cancelled' THEN t.reason END,
    reason = NULL, detail = NULL, due_at = clock_timestamp(), attempts = 0, state_changed_at = now()
FROM unnest(%(ids)s::uuid[], %(states)s::text[], %(epochs)s::bigint[], %(changes)s::timestamptz[])
    AS seen (id, state, epoch, state_changed_at)
WHERE t.id = seen.id AND t.state = seen.state AND t.epoch = seen.epoch AND t.state_changed_at = seen.state_changed_at
    AND t.destination_uai IS NOT NULL
RETURNING t.id
"""
# An enrolment that no event has told of yet says nothing but what has moved: revision 0, and withdrawn, so that it
# neither leaves nor arrives.
_NOTE_MOVED = """
INSERT INTO enrolment AS known (match_key, uai, pupil_id, active, withdrawn, source, ine_status, revision,
    moved_at_revision, occurred_at, event_time)
SELECT match_key, uai, pupil_id, false, true, source, ine_status, 0, moved_at_revision, now(), now()
FROM unnest(%(keys)s::text[], %(uais)s::text[], %(pupils)s::uuid[], %(sources)s::text[], %(statuses)s::text[],
    %(revisions)s::bigint[]) AS moved (match_key, uai, pupil_id, source, ine_status, moved_at_revision)
ORDER BY match_key, uai
ON CONFLICT (match_key, uai) DO UPDATE SET moved_at_revision = EXCLUDED.moved_at_revision
WHERE known.moved_at_revision < EXCLUDED.moved_at_revision
"""
_NOT_BEGUN = frozenset({TransferState.PLANNED, TransferState.HELD, TransferState.CANCELLED})
_NOT_LANDED = _NOT_BEGUN | {TransferState.HOLDING, TransferState.COPYING}


class PostgresKnownFacts:
    """Implements `ports.KnownFacts`."""

    def __init__(self, database: Database, projection: Projection, clock: Clock) -> None:
        self._database = database
        self._projection = projection
        self._clock = clock

    async def known(self, uai: str) -> KnownState:
        """What the join knows of this establishment."""
        async with self._database.begin() as tx:
            async with tx.cursor(row_factory=class_row(KnownEnrolment)) as cursor:
                enrolments = await (await cursor.execute(_ENROLMENTS, (uai,))).fetchall()
            async with tx.cursor(row_factory=class_row(OptIn)) as cursor:
                opt_in = await (await cursor.execute(_OPT_IN, (uai,))).fetchone()
            moving = await (await tx.execute(_MOVING, (uai,))).fetchall()
        by_key = {enrolment.match_key: enrolment for enrolment in enrolments}
        return KnownState(opt_in or OptIn(), by_key, frozenset(row[0] for row in moving))

    async def entries(self, uai: str) -> dict[UUID, Entry]:
        """The transfers into and out of this establishment, by id."""
        async with self._database.begin() as tx, tx.cursor(row_factory=class_row(Entry)) as cursor:
            await cursor.execute(_ENTRIES, {"uai": uai})
            return {entry.id: entry for entry in await cursor.fetchall()}

    async def candidates(self, uai: str, match_keys: Collection[str]) -> dict[str, list[str]]:
        """By match key: the other establishments that are known to have this pupil, where they are active first."""
        async with self._database.begin() as tx:
            return dict(await (await tx.execute(_CANDIDATES, (list(match_keys), uai))).fetchall())

    async def enter(self, transfers: Sequence[RestoredTransfer]) -> int:
        """Write transfers down again, with what has moved. Those that are there by now are left alone.

        One that the join has planned meanwhile for the same facts gives way: it can't have touched a record, for the
        one that is entered holds the pupil, or has moved the records.
        """
        done = [one for one in transfers if one.state is TransferState.COMPLETED and not one.undoes]
        async with self._database.begin() as tx:
            await tx.execute(_ONE_AT_A_TIME)
            # Enrolments before transfers, as the join locks them.
            await self._note(tx, [_moved_by(transfer) for transfer in done])
            rivals = await _rows(tx, _RIVALS, _business_keys(transfers))
            entered = list(_beside(transfers, rivals))
            await tx.execute(_GIVE_WAY, (_giving_way(entered, rivals),))
            async with tx.cursor() as cursor:
                await cursor.executemany(_ENTER, [_values(transfer) for transfer in entered])
                number = cursor.rowcount if entered else 0
            await tx.execute(_UNDONE_BY, ([transfer.id for transfer in entered],))
            await tx.execute("SELECT pg_notify(%s, '')", (DUE_CHANNEL,))
        return number

    async def carry_on(self, entries: Sequence[Entry]) -> int:
        """Let a mover look at these, unless they have changed since they were read."""
        arguments = {
            "ids": [entry.id for entry in entries],
            "states": [str(entry.state) for entry in entries],
            "epochs": [entry.epoch for entry in entries],
            "changes": [entry.state_changed_at for entry in entries],
        }
        async with self._database.begin() as tx:
            rows = await (await tx.execute(_CARRY_ON, arguments)).fetchall()
            await tx.execute("SELECT pg_notify(%s, '')", (DUE_CHANNEL,))
        return len(rows)

    async def note_moved(self, uai: str, pupils: Sequence[PupilTruth]) -> None:
        """The records of these pupils have left at their revision: nothing is to be planned from it."""
        moved = [(p.match_key, uai, p.pupil_id, p.source, p.ine_status, p.revision) for p in pupils]
        async with self._database.begin() as tx:
            await self._note(tx, moved)
            events = await self._projection.derive(tx, sorted({pupil.match_key for pupil in pupils}))
            await outbox.add(tx, events, source=SOURCE, clock=self._clock)

    async def _note(self, tx: Connection, moved: Sequence[tuple[Any, ...]]) -> None:
        # Of several transfers of one pupil the last counts; one statement may not touch a row twice.
        newest = {(row[0], row[1]): row for row in sorted(moved, key=lambda row: int(row[5])) if row[5] > 0}
        if newest:
            names = ("keys", "uais", "pupils", "sources", "statuses", "revisions")
            columns = zip(*newest.values(), strict=True)
            await tx.execute(_NOTE_MOVED, {name: list(column) for name, column in zip(names, columns, strict=True)})


def _business_key(transfer: RestoredTransfer) -> tuple[str, str, int, str]:
    return transfer.match_key, transfer.origin_uai, transfer.origin_revision, transfer.destination_uai


def _business_keys(transfers: Sequence[RestoredTransfer]) -> dict[str, Any]:
    return {
        "ids": [transfer.id for transfer in transfers],
        "keys": [transfer.match_key for transfer in transfers],
        "origins": [transfer.origin_uai for transfer in transfers],
        "revisions": [transfer.origin_revision for transfer in transfers],
        "destinations": [transfer.destination_uai for transfer in transfers],
    }


def _rival_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["match_key"], row["origin_uai"], row["origin_revision"], row["destination_uai"]


def _beside(transfers: Iterable[RestoredTransfer], rivals: Sequence[Mapping[str, Any]]) -> Iterable[RestoredTransfer]:
    """Those that are not there yet; under the spare revision where another keeps the business key."""
    there = {row["id"] for row in rivals}
    states = {_rival_key(row): row["state"] for row in rivals}
    taken: set[tuple[Any, ...]] = set()
    for transfer in transfers:
        if transfer.id in there:
            continue
        there.add(transfer.id)
        key = _business_key(transfer)
        free = key not in taken and _gives_way(states.get(key), transfer)
        kept = transfer if free else replace(transfer, origin_revision=transfer.spare_revision)
        taken.add(_business_key(kept))
        yield kept


def _giving_way(entered: Sequence[RestoredTransfer], rivals: Sequence[Mapping[str, Any]]) -> list[UUID]:
    keys = {_business_key(transfer) for transfer in entered}
    return [row["id"] for row in rivals if _rival_key(row) in keys]


def _gives_way(rival: str | None, transfer: RestoredTransfer) -> bool:
    """A hold of the one that is entered keeps every other from its pupil; one that is completed holds nobody."""
    return rival is None or rival in (_NOT_BEGUN if transfer.state is TransferState.COMPLETED else _NOT_LANDED)


def _values(transfer: RestoredTransfer) -> dict[str, Any]:
    return {name: getattr(transfer, name) for name in RestoredTransfer.__slots__}


def _moved_by(transfer: RestoredTransfer) -> tuple[Any, ...]:
    place = (transfer.match_key, transfer.origin_uai, transfer.origin_pupil_id)
    return (*place, EnrolmentSource.SIECLE, IneStatus.TRUSTED, transfer.origin_revision)


async def _rows(tx: Connection, query: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, arguments)
        return await cursor.fetchall()
