"""What support does to transfers."""

from datetime import timedelta
from typing import Protocol
from uuid import UUID

from cpro_transfer.domain.support import Order
from cpro_transfer.domain.transfers import Transfer
from cpro_transfer.domain.undoing import Finding


class SupportDesk(Protocol):
    """The transfer database, as support acts on it. Each act commits together with its line in the audit trail.

    Raises:
        NotNowError: in this state the act means nothing; nothing was changed.
    """

    async def find(self, transfer_id: UUID) -> Transfer | None:
        """One transfer, whoever's."""

    async def undo_of(self, transfer_id: UUID) -> Transfer | None:
        """The transfer that undoes this one, if support has asked for that."""

    async def retry(self, transfer_id: UUID, order: Order, *, dry_run: bool) -> Transfer:
        """Let a mover look at it at once."""

    async def cancel(self, transfer_id: UUID, order: Order, *, dry_run: bool) -> Transfer:
        """Stop it, for good as long as no fact changes."""

    async def plan_undo(self, transfer_id: UUID, order: Order, *, within: timedelta, dry_run: bool) -> Transfer:
        """Plan the transfer that takes this one back.

        Raises:
            UndoRefusedError: what the transfer database says forbids it.
        """


class UndoTruth(Protocol):
    """What an establishment's database says of records that are to go back."""

    async def look(self, uai: str, transfer_id: UUID, pupil_id: UUID, other_uai: str) -> Finding:
        """Whether the rows that came to `uai` by this transfer could go back now."""
