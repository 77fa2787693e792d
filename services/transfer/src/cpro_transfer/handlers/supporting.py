"""What support does to a transfer: try it again, cancel it, take it back. Every act has a ticket, and is audited.

An undo is asked for here and carried out by the mover: it is a transfer of its own, from the destination back to the
origin, of exactly the rows that the destination's receipt names. What is looked at here is to tell support at once;
the mover looks again under lock, for a teacher may write in between.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from cpro_platform.clock import Clock
from cpro_transfer.domain.support import Order
from cpro_transfer.domain.transfers import IN_HAND, Transfer, TransferState
from cpro_transfer.domain.undoing import refusal
from cpro_transfer.errors import UndoRefusedError
from cpro_transfer.ports.supporting import SupportDesk, UndoTruth

_UNDER_WAY = IN_HAND | {TransferState.PLANNED}


@dataclass(frozen=True, slots=True)
class Support:
    """Support's acts. A dry run refuses as the act would, and changes nothing."""

    desk: SupportDesk
    truth: UndoTruth
    clock: Clock
    undo_within: timedelta

    async def retry(self, transfer_id: UUID, order: Order, *, dry_run: bool = False) -> Transfer | None:
        """Let a mover look at a held or postponed transfer at once. None: there is no such transfer.

        Raises:
            NotNowError: it is neither.
        """
        found = await self.desk.find(transfer_id)
        return await self.desk.retry(transfer_id, order, dry_run=dry_run) if found else None

    async def cancel(self, transfer_id: UUID, order: Order, *, dry_run: bool = False) -> Transfer | None:
        """Stop a transfer that has not landed. None: there is no such transfer.

        Raises:
            NotNowError: it has landed, or ended.
        """
        found = await self.desk.find(transfer_id)
        return await self.desk.cancel(transfer_id, order, dry_run=dry_run) if found else None

    async def undo(self, transfer_id: UUID, order: Order, *, dry_run: bool = False) -> Transfer | None:
        """Plan the move back of what a completed transfer has brought. Returns that; None: no such transfer.

        Raises:
            UndoRefusedError: it is too late, or the records are not as they came.
            NotNowError: it is being undone, under another ticket.
        """
        found = await self.desk.find(transfer_id)
        if found is None:
            return None
        against = refusal(found, now=self.clock.now(), within=self.undo_within)
        if against:
            raise UndoRefusedError(against, found)
        under_way = await self.desk.undo_of(transfer_id)
        if under_way is None or under_way.state not in _UNDER_WAY:
            await self._ask_the_destination(found)
        return await self.desk.plan_undo(transfer_id, order, within=self.undo_within, dry_run=dry_run)

    async def _ask_the_destination(self, transfer: Transfer) -> None:
        assert transfer.destination_uai is not None and transfer.destination_pupil_id is not None  # noqa: PT018
        finding = await self.truth.look(
            transfer.destination_uai, transfer.id, transfer.destination_pupil_id, transfer.origin_uai
        )
        if finding.refusal:
            raise UndoRefusedError(finding.refusal, transfer, finding.touched)
