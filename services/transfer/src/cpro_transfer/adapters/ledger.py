"""The transfer database, as a mover uses it: leases, epochs, states. Every statement is named here."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from cpro_contracts.transfers import Reason, TransferCompleted, TransferUndone
from cpro_platform import crash_points, outbox, tracing
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_transfer.adapters import authorisation_gate, import_traces
from cpro_transfer.adapters.authorisation_gate import acts_under_authorisation
from cpro_transfer.adapters.projection import SOURCE, Projection, event_of
from cpro_transfer.domain.transfers import RETRIED_AFTER, Claim, TransferState

_FIRST_DELAY = timedelta(milliseconds=500)
_LONGEST_DELAY = timedelta(minutes=5)

# One pair of establishments at a time, the one that has waited longest. A crashed mover's transfers are due again when
# the lease ends: `due_at` holds that moment. One that undoes another is a batch of its own: fixed rows move, not all.
_CLAIM = f"""
WITH pair AS (
    SELECT origin_uai, destination_uai, undoes FROM transfer
    WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
), batch AS (
    SELECT t.id FROM transfer t JOIN pair USING (origin_uai, destination_uai)
    WHERE t.due_at <= clock_timestamp() AND t.undoes IS NOT DISTINCT FROM pair.undoes
    ORDER BY t.due_at LIMIT %(limit)s FOR UPDATE OF t SKIP LOCKED
)
UPDATE transfer t SET epoch = epoch + 1, worker = %(worker)s, lease_until = clock_timestamp() + %(lease)s,
    due_at = clock_timestamp() + %(lease)s, attempts = attempts + 1, reason = NULL, detail = NULL,
    state = CASE WHEN state IN ('planned', 'held') THEN 'holding' ELSE state END,
    state_changed_at = CASE WHEN state IN ('planned', 'held') THEN now() ELSE state_changed_at END
FROM batch WHERE t.id = batch.id
RETURNING t.id, t.epoch, t.match_key, t.state, t.cancel_requested IS NOT NULL AS cancel_requested,
    t.origin_uai, t.origin_pupil_id, t.destination_uai, t.destination_pupil_id, t.undoes, t.traceparent,
    {import_traces.OF_TRANSFER} AS imports
"""
_MINE = "SELECT * FROM unnest(%(ids)s::uuid[], %(epochs)s::bigint[]) AS mine (id, epoch)"
_RENEW = f"""
UPDATE transfer t SET lease_until = clock_timestamp() + %(lease)s, due_at = clock_timestamp() + %(lease)s
FROM ({_MINE}) mine WHERE t.id = mine.id AND t.epoch = mine.epoch AND t.lease_until IS NOT NULL
"""
_ADVANCE = f"""
UPDATE transfer t SET state = %(state)s, state_changed_at = now(),
    landed_at = CASE WHEN %(state)s = 'landed' THEN coalesce(t.landed_at, now()) ELSE t.landed_at END,
    finished_at = CASE WHEN %(finished)s THEN clock_timestamp() ELSE t.finished_at END
FROM ({_MINE}) mine WHERE t.id = mine.id AND t.epoch = mine.epoch
RETURNING t.id, t.cancel_requested IS NOT NULL,
    CASE WHEN t.landed_at = now() THEN extract(epoch FROM t.landed_at - t.called_for_at)::float8 END AS took_seconds
"""
# Enrolments before transfers, as the join locks them.
_LOCK_ENROLMENTS = f"""
SELECT 1 FROM enrolment e JOIN transfer t ON t.match_key = e.match_key AND t.origin_uai = e.uai
JOIN ({_MINE}) mine ON mine.id = t.id ORDER BY e.match_key, e.uai FOR UPDATE OF e
"""
_COMPLETE = f"""
UPDATE transfer t SET state = 'completed', state_changed_at = now(), completed_at = clock_timestamp(),
    finished_at = coalesce(t.finished_at, clock_timestamp()), records = counted.records, cancel_requested = NULL,
    due_at = NULL, lease_until = NULL, worker = NULL
FROM ({_MINE}) mine
JOIN unnest(%(ids)s::uuid[], %(records)s::integer[]) AS counted (id, records) USING (id)
WHERE t.id = mine.id AND t.epoch = mine.epoch
RETURNING t.*
"""
# Before the transfers that undo them, as support locks them.
_LOCK_UNDONE = """
SELECT 1 FROM transfer WHERE id = ANY (ARRAY(SELECT undoes FROM transfer WHERE id = ANY (%(ids)s)))
ORDER BY id FOR UPDATE
"""
# Its enrolment keeps the revision at which the records left: the same facts do not call for them again.
_UNDO = """
UPDATE transfer t SET state = 'undone', state_changed_at = now() FROM transfer u
WHERE u.id = ANY (%(ids)s) AND t.id = u.undoes AND t.state = 'completed'
RETURNING t.*, u.ticket AS undone_under
"""
_NOTE_MOVED = """
UPDATE enrolment e SET moved_at_revision = greatest(e.moved_at_revision, t.origin_revision)
FROM transfer t WHERE t.id = ANY (%s) AND e.match_key = t.match_key AND e.uai = t.origin_uai
"""
# What the end of a transfer may call for: the same pupil has left again meanwhile, or waits to go on from elsewhere.
# For most there is nothing, and to ask costs less than to derive.
_TO_DERIVE = """
SELECT match_key FROM enrolment WHERE match_key = ANY (%(match_keys)s)
    AND NOT active AND NOT withdrawn AND moved_at_revision < revision
UNION
SELECT match_key FROM transfer WHERE match_key = ANY (%(match_keys)s)
    AND state IN ('planned', 'holding', 'copying', 'landed', 'held')
ORDER BY 1
"""
_HOLD = f"""
UPDATE transfer t SET state = 'held', reason = %(reason)s, detail = %(detail)s, state_changed_at = now(),
    cancel_requested = NULL, due_at = clock_timestamp() + %(retry)s, lease_until = NULL, worker = NULL
FROM ({_MINE}) mine WHERE t.id = mine.id AND t.epoch = mine.epoch
RETURNING t.*
"""
_CANCEL = f"""
UPDATE transfer t SET state = 'cancelled', reason = coalesce(t.cancel_requested, 'returned'), cancel_requested = NULL,
    state_changed_at = now(), due_at = NULL, lease_until = NULL, worker = NULL
FROM ({_MINE}) mine WHERE t.id = mine.id AND t.epoch = mine.epoch
RETURNING t.*
"""
_POSTPONE = f"""
UPDATE transfer t SET reason = %(reason)s, lease_until = NULL, worker = NULL,
    due_at = clock_timestamp() + least(%(first)s * power(2, least(t.attempts, 20)), %(longest)s) * (0.5 + random() / 2)
FROM ({_MINE}) mine WHERE t.id = mine.id AND t.epoch = mine.epoch
"""


class PostgresLedger:
    """The ledger of one mover. Safe beside any number of others."""

    def __init__(
        self,
        database: Database,
        projection: Projection,
        clock: Clock,
        *,
        worker: str,
        lease: timedelta,
        on_landing: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._database = database
        self._projection = projection
        self._clock = clock
        self._worker = worker
        self._lease = lease
        self._on_landing = on_landing

    async def claim(self, limit: int) -> list[Claim]:
        """Lease up to `limit` due transfers of one pair of establishments, raising their epoch.

        Safe to call from any number of movers: SKIP LOCKED hides rows that another is claiming, and the raised epoch
        makes every later write of the previous holder fail.
        """
        arguments = {"limit": limit, "worker": self._worker, "lease": self._lease}
        async with self._database.begin() as tx, tx.cursor(row_factory=class_row(Claim)) as cursor:
            await cursor.execute(_CLAIM, arguments)
            claims = await cursor.fetchall()
            if claims:
                crash_points.reach("move.claiming")
            return claims

    async def renew(self, claims: Sequence[Claim]) -> None:
        """Make the leases last of those that are still ours. What has ended, or was given back, has none."""
        async with self._database.begin() as tx:
            await tx.execute(_RENEW, _mine(claims) | {"lease": self._lease})

    async def advance(self, claims: Sequence[Claim], state: TransferState, *, finished: bool = False) -> set[UUID]:
        """Note how far the claims have come. Returns those that were asked to stop meanwhile.

        Of each that has landed just now, `on_landing` is told the seconds since the second of the two facts: once,
        however often it is noted.
        """
        async with self._database.begin() as tx:
            rows = await (await tx.execute(_ADVANCE, _mine(claims) | {"state": state, "finished": finished})).fetchall()
        for _, _, took_seconds in rows:
            if took_seconds is not None:
                self._on_landing(took_seconds)
        return {row[0] for row in rows if row[1]}

    @tracing.traced("authorisations.ask", tracing.DATABASE)
    async def pass_gate(self, claims: Sequence[Claim]) -> dict[UUID, Reason]:
        """Ask once more, under lock, whether the authorisations that these act under still hold.

        From here on they are not taken back, until the transfer has ended or was set aside. Returns those that don't
        hold. What a revocation does that comes at the same time: `authorisation_gate`.

        Raises:
            SupersededError: one of the claims is another's by now.
        """
        async with self._database.begin() as tx:
            return await authorisation_gate.pass_gate(tx, claims, self._clock.now())

    @tracing.traced("transfers.complete", tracing.DATABASE)
    async def complete(self, claims: Mapping[Claim, int]) -> None:
        """Both receipts are there: note the number of records, publish, and plan what may follow."""
        mine = _mine(list(claims))
        async with self._database.begin() as tx:
            await tx.execute(_LOCK_ENROLMENTS, mine)
            if undoing := any(claim.undoes for claim in claims):
                await tx.execute(_LOCK_UNDONE, mine)
            rows = await _changed(tx, _COMPLETE, mine | {"records": list(claims.values())})
            await tx.execute(_NOTE_MOVED, ([row["id"] for row in rows],))
            if authorised := _authorised(rows):
                await authorisation_gate.close_executed(tx, authorised)
            events = [_completed(row) for row in rows if not row["undoes"]]
            undone = await _changed(tx, _UNDO, {"ids": [row["id"] for row in rows]}) if undoing else []
            open_ended = await tx.execute(_TO_DERIVE, {"match_keys": [row["match_key"] for row in rows]})
            events_after = await self._projection.derive(tx, [row[0] for row in await open_ended.fetchall()])
            traces = _traces([*(row for row in rows if not row["undoes"]), *undone], more=len(events_after))
            await outbox.add(
                tx,
                [*events, *map(_undone, undone), *events_after],
                source=SOURCE,
                clock=self._clock,
                traceparents=traces,
            )
            crash_points.reach("move.completing")

    async def hold(self, claims: Sequence[Claim], reason: Reason, detail: str = "") -> None:
        """Set the claims aside for this reason, until a fact changes or the reason's time to try again has come."""
        arguments = {"reason": reason, "detail": detail, "retry": RETRIED_AFTER.get(reason)}
        await self._end(_HOLD, claims, arguments, nothing_moved=reason is not Reason.LANDING_LOST)

    async def cancel(self, claims: Sequence[Claim]) -> None:
        """End the claims whose cancellation was asked for; nothing of them is anywhere but at the origin."""
        await self._end(_CANCEL, claims, {}, nothing_moved=True)

    async def postpone(self, claims: Sequence[Claim], reason: Reason) -> None:
        """Give the claims back, to be tried again later with growing delays."""
        async with self._database.begin() as tx:
            delays = {"reason": reason, "first": _FIRST_DELAY, "longest": _LONGEST_DELAY}
            await tx.execute(_POSTPONE, _mine(claims) | delays)

    async def _end(
        self, statement: str, claims: Sequence[Claim], arguments: dict[str, Any], *, nothing_moved: bool
    ) -> None:
        async with self._database.begin() as tx:
            changed = await _changed(tx, statement, _mine(claims) | arguments)
            if nothing_moved and (authorised := _authorised(changed)):
                await authorisation_gate.reopen(tx, authorised)
            # No fact calls for one that undoes another: it is support's, and the audit trail tells of it.
            rows = [row for row in changed if not row["undoes"]]
            events_after = await self._projection.derive(tx, sorted({row["match_key"] for row in rows}))
            traces = _traces(rows, more=len(events_after))
            events = [*map(event_of, rows), *events_after]
            await outbox.add(tx, events, source=SOURCE, clock=self._clock, traceparents=traces)


def _authorised(rows: Sequence[dict[str, Any]]) -> list[UUID]:
    return [row["id"] for row in rows if acts_under_authorisation(row["match_key"])]


def _traces(rows: Sequence[dict[str, Any]], *, more: int) -> list[str | None]:
    """The traces of what is told of these transfers, each in its own; of what else follows, the one under way."""
    return [*(tracing.in_trace_of(row["traceparent"]) for row in rows), *[tracing.current_traceparent()] * more]


def _mine(claims: Sequence[Claim]) -> dict[str, Any]:
    return {"ids": [claim.id for claim in claims], "epochs": [claim.epoch for claim in claims]}


async def _changed(tx: Connection, statement: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, arguments)
        return await cursor.fetchall()


def _completed(row: dict[str, Any]) -> TransferCompleted:
    return TransferCompleted.model_validate(row | {"transfer_id": row["id"], "occurred_at": row["completed_at"]})


def _undone(row: dict[str, Any]) -> TransferUndone:
    said = {"transfer_id": row["id"], "occurred_at": row["state_changed_at"], "ticket": row["undone_under"]}
    return TransferUndone.model_validate(row | said)
