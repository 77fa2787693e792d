"""What support does to transfers, in the transfer database. Each act and its line in the audit trail commit together.

The transfer's row is locked first, so of two supports at once the second sees what the first has done.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row, dict_row

from cpro_contracts.transfers import Reason
from cpro_platform import crash_points, outbox, tracing
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_transfer.adapters.audit_trail import AuditTrail
from cpro_transfer.adapters.projection import DUE_CHANNEL, SOURCE, event_of
from cpro_transfer.adapters.queries import TRANSFER
from cpro_transfer.domain.support import Action, Cancelling, Order, cancelling, entry_for, waits_for_a_retry
from cpro_transfer.domain.transfers import Transfer, TransferState
from cpro_transfer.domain.undoing import MATCH_KEY_PREFIX, Refusal, refusal, undo_id_of
from cpro_transfer.errors import NotNowError, UndoRefusedError

_LEASE = "SELECT lease_until FROM transfer WHERE id = %s"
_RETRY = """
UPDATE transfer SET due_at = clock_timestamp(), attempts = 0 WHERE id = %s AND lease_until IS NULL
"""
# It stands against the facts of now, whatever they were when it was planned. The join derives under the lock of this
# row: a fact that it takes in meanwhile is a new one.
_CANCEL = """
UPDATE transfer t SET
    state = CASE WHEN %(at_once)s THEN 'cancelled' ELSE t.state END,
    reason = CASE WHEN %(at_once)s THEN %(reason)s ELSE t.reason END,
    detail = CASE WHEN %(at_once)s THEN NULL ELSE t.detail END,
    state_changed_at = CASE WHEN %(at_once)s THEN now() ELSE t.state_changed_at END,
    -- One that waits for its next try in a mover's hands stops now, not then.
    due_at = CASE WHEN %(at_once)s THEN NULL WHEN t.lease_until IS NULL THEN clock_timestamp() ELSE t.due_at END,
    cancel_requested = CASE WHEN %(at_once)s THEN NULL ELSE %(reason)s END,
    destination_revision =
        (SELECT e.revision FROM enrolment e WHERE e.match_key = t.match_key AND e.uai = t.destination_uai),
    origin_opt_in_revision =
        coalesce((SELECT opt_in_revision FROM establishment WHERE uai = t.origin_uai), t.origin_opt_in_revision),
    destination_opt_in_revision =
        (SELECT opt_in_revision FROM establishment WHERE uai = t.destination_uai)
WHERE t.id = %(id)s
RETURNING t.*
"""
_CANCELLED_UNDER = """
SELECT EXISTS (
    SELECT 1 FROM audit_entry a JOIN transfer t ON t.id = a.transfer_id
    WHERE a.transfer_id = %s AND a.action = %s AND a.ticket = %s
        AND 'cancelled_by_support' IN (t.reason, t.cancel_requested)
)
"""
_OUT_OF_THERE = """
SELECT EXISTS (
    SELECT 1 FROM transfer WHERE origin_uai = %s AND origin_pupil_id = %s AND undoes IS NULL
        AND state IN ('planned', 'holding', 'copying', 'landed')
)
"""
_UNDO_OF = f"{TRANSFER} WHERE undoes = %s FOR UPDATE"
# One that was cancelled, or is held, starts anew under the new ticket; its epoch goes on, and so do its fences.
_PLAN_UNDO = """
INSERT INTO transfer AS known (id, match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai,
    destination_pupil_id, origin_opt_in_revision, called_for_at, state, due_at, undoes, ticket, traceparent)
VALUES (%(id)s, %(match_key)s, %(origin_uai)s, %(origin_pupil_id)s, 0, %(destination_uai)s, %(destination_pupil_id)s, 0,
    now(), 'planned', clock_timestamp(), %(undoes)s, %(ticket)s, %(traceparent)s)
ON CONFLICT (id) DO UPDATE SET state = 'planned', reason = NULL, detail = NULL, cancel_requested = NULL, attempts = 0,
    ticket = EXCLUDED.ticket, traceparent = EXCLUDED.traceparent, called_for_at = now(), state_changed_at = now(),
    due_at = clock_timestamp()
WHERE known.state IN ('cancelled', 'held')
"""
_PAGE = """
WHERE (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(uai)s::text IS NULL OR %(uai)s IN (origin_uai, destination_uai))
    AND (%(planned_at)s::timestamptz IS NULL OR (planned_at, id) < (%(planned_at)s, %(id)s))
ORDER BY planned_at DESC, id DESC LIMIT %(limit)s
"""


class PostgresSupportDesk:
    """Support's writes, and what it reads of any transfer."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def find(self, transfer_id: UUID) -> Transfer | None:
        """One transfer, whoever's."""
        async with self._database.begin() as tx:
            return await _one(tx, f"{TRANSFER} WHERE id = %s", transfer_id)

    async def undo_of(self, transfer_id: UUID) -> Transfer | None:
        """The transfer that undoes this one, if support has asked for that."""
        async with self._database.begin() as tx:
            return await _one(tx, f"{TRANSFER} WHERE undoes = %s", transfer_id)

    async def page(
        self,
        *,
        state: TransferState | None,
        uai: str | None,
        after: tuple[datetime, UUID] | None,
        limit: int,
    ) -> list[Transfer]:
        """One page of all transfers, newest first."""
        planned_at, transfer_id = after or (None, None)
        arguments = {"state": state, "uai": uai, "planned_at": planned_at, "id": transfer_id, "limit": limit}
        async with self._database.begin() as tx, tx.cursor(row_factory=class_row(Transfer)) as cursor:
            await cursor.execute(TRANSFER + _PAGE, arguments)
            return await cursor.fetchall()

    async def retry(self, transfer_id: UUID, order: Order, *, dry_run: bool) -> Transfer:
        """Let a mover look at it at once. A dry run only says whether that means something.

        Raises:
            NotNowError: it is neither held nor postponed; nothing was changed.
        """
        async with self._acting(transfer_id) as (tx, transfer):
            lease = await (await tx.execute(_LEASE, (transfer_id,))).fetchone()
            if not waits_for_a_retry(transfer, leased=bool(lease and lease[0])):
                raise NotNowError(transfer)
            if dry_run:
                return transfer
            await tx.execute(_RETRY, (transfer_id,))
            await tx.execute("SELECT pg_notify(%s, '')", (DUE_CHANNEL,))
            await AuditTrail.add(
                tx, entry_for(order, Action.RETRIED, transfer, state=transfer.state, reason=transfer.reason)
            )
            return await _again(tx, transfer_id)

    async def cancel(self, transfer_id: UUID, order: Order, *, dry_run: bool) -> Transfer:
        """Stop it: at once where no mover has it in hand, else as soon as one can. Not planned again by the same facts.

        Asked for again under the same ticket, it is as it was.

        Raises:
            NotNowError: it has landed or ended; nothing was changed.
        """
        async with self._acting(transfer_id) as (tx, transfer):
            again = await tx.execute(_CANCELLED_UNDER, (transfer_id, Action.CANCELLED, order.ticket))
            if await again.fetchone() == (True,):
                return transfer
            how = cancelling(transfer.state)
            if how is Cancelling.TOO_LATE:
                raise NotNowError(transfer)
            if dry_run:
                return transfer
            arguments = {"id": transfer_id, "at_once": how is Cancelling.AT_ONCE, "reason": Reason.CANCELLED_BY_SUPPORT}
            async with tx.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(_CANCEL, arguments)
                rows = await cursor.fetchall()
            ended = [event_of(row) for row in rows if row["state"] == "cancelled" and not row["undoes"]]
            await outbox.add(tx, ended, source=SOURCE, clock=self._clock)
            await AuditTrail.add(tx, entry_for(order, Action.CANCELLED, transfer, state=transfer.state, how=how))
            crash_points.reach("support.cancelling")
            return await _again(tx, transfer_id)

    async def plan_undo(self, transfer_id: UUID, order: Order, *, within: timedelta, dry_run: bool) -> Transfer:
        """Plan the transfer that takes this one back; a mover does the rest, and asks both databases first.

        Asked for again under the same ticket while it is under way: the one that is planned already.

        Raises:
            UndoRefusedError: what the transfer database says forbids it; nothing was changed.
            NotNowError: it is being undone under another ticket.
        """
        async with self._acting(transfer_id) as (tx, transfer):
            against = refusal(transfer, now=self._clock.now(), within=within) or await _on_its_way(tx, transfer)
            if against:
                raise UndoRefusedError(against, transfer)
            undo = await _one(tx, _UNDO_OF, transfer_id)
            if undo and undo.state not in {TransferState.CANCELLED, TransferState.HELD}:
                if undo.ticket != order.ticket:
                    raise NotNowError(undo)
                return undo
            if dry_run:
                return transfer
            undo_id = undo_id_of(transfer_id)
            await tx.execute(_PLAN_UNDO, _undo(undo_id, transfer, order))
            await tx.execute("SELECT pg_notify(%s, '')", (DUE_CHANNEL,))
            await AuditTrail.add(tx, entry_for(order, Action.UNDO_ASKED, transfer, undo_id=str(undo_id)))
            crash_points.reach("support.undo_planning")
            return await _again(tx, undo_id)

    @asynccontextmanager
    async def _acting(self, transfer_id: UUID) -> AsyncIterator[tuple[Connection, Transfer]]:
        """A transaction with the transfer's row locked."""
        async with self._database.begin() as tx:
            transfer = await _one(tx, f"{TRANSFER} WHERE id = %s FOR UPDATE", transfer_id)
            assert transfer is not None  # the caller has found it, and none is ever deleted once it was planned
            yield tx, transfer


async def _on_its_way(tx: Connection, transfer: Transfer) -> Refusal | None:
    """Whether the records are about to go on from where this transfer has brought them."""
    leaving = await tx.execute(_OUT_OF_THERE, (transfer.destination_uai, transfer.destination_pupil_id))
    return Refusal.MOVED_ON if await leaving.fetchone() == (True,) else None


def _undo(undo_id: UUID, transfer: Transfer, order: Order) -> dict[str, object]:
    return {
        "id": undo_id,
        "match_key": f"{MATCH_KEY_PREFIX}{transfer.id}",
        "origin_uai": transfer.destination_uai,
        "origin_pupil_id": transfer.destination_pupil_id,
        "destination_uai": transfer.origin_uai,
        "destination_pupil_id": transfer.origin_pupil_id,
        "undoes": transfer.id,
        "ticket": order.ticket,
        "traceparent": tracing.current_traceparent(),
    }


async def _one(tx: Connection, query: str, transfer_id: UUID) -> Transfer | None:
    async with tx.cursor(row_factory=class_row(Transfer)) as cursor:
        await cursor.execute(query, (transfer_id,))
        return await cursor.fetchone()


async def _again(tx: Connection, transfer_id: UUID) -> Transfer:
    found = await _one(tx, f"{TRANSFER} WHERE id = %s", transfer_id)
    assert found is not None
    return found
