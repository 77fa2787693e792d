"""Decide whether a completed transfer can be taken back. Pure: no clock, no I/O.

An undo is a transfer of its own, from the destination back to the origin, of exactly the rows that the receipt names.
Its id follows from the id of what it undoes: either database can tell that records which left have come back.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid5

from cpro_transfer.domain.transfers import Transfer, TransferState

_NAMESPACE = UUID("5b1f5c59-5e0e-4c69-8d8b-0f6a3d5f9f2e")
MATCH_KEY_PREFIX = "undo:"
"""An undo goes under a key that no pupil has: the join never looks at it, and there is one for each transfer."""


def undo_id_of(transfer_id: UUID) -> UUID:
    """The id of the transfer that undoes this one."""
    return uuid5(_NAMESPACE, str(transfer_id))


class Refusal(StrEnum):
    """Why a transfer is not undone. A closed list."""

    NOT_COMPLETED = "not_completed"
    ALREADY_UNDONE = "already_undone"
    IS_AN_UNDO = "is_an_undo"
    TOO_LATE = "too_late"
    MOVED_ON = "moved_on"
    """The records have left the destination since, or are about to."""
    RECEIPT_MISSING = "receipt_missing"
    RECORDS_EDITED = "records_edited"


class Change(StrEnum):
    """What has happened to a row since it came."""

    EDITED = "edited"
    DELETED = "deleted"
    ADDED = "added"
    """It was added and hangs from a row that came."""
    DIFFERS = "differs"
    """The digest of its table disagrees, and no row of it shows a later change: restored, or in another form."""


@dataclass(frozen=True, slots=True, order=True)
class Touched:
    """A row that stands in the way of an undo."""

    table: str
    row_id: UUID
    change: Change


@dataclass(frozen=True, slots=True)
class Passage:
    """A receipt that an establishment has of a pupil: which way, by which transfer."""

    transfer_id: UUID
    outgoing: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What the destination's own database says of a transfer that is to be undone."""

    refusal: Refusal | None
    touched: tuple[Touched, ...] = ()


def refusal(transfer: Transfer, *, now: datetime, within: timedelta) -> Refusal | None:
    """What the transfer itself says against it."""
    if transfer.undoes:
        return Refusal.IS_AN_UNDO
    if transfer.state is TransferState.UNDONE:
        return Refusal.ALREADY_UNDONE
    if transfer.state is not TransferState.COMPLETED or transfer.completed_at is None:
        return Refusal.NOT_COMPLETED
    return Refusal.TOO_LATE if now - transfer.completed_at > within else None


def has_moved_on(since: Collection[Passage], *, undo: UUID) -> bool:
    """Whether the records have left by another transfer `since`, and not come back by its undo."""
    back = {passage.transfer_id for passage in since if not passage.outgoing}
    others = [passage.transfer_id for passage in since if passage.outgoing and passage.transfer_id != undo]
    return any(undo_id_of(transfer_id) not in back for transfer_id in others)


def judge(*, received: bool, moved_on: bool, touched: Sequence[Touched]) -> Finding:
    """What the destination's receipts and rows come to."""
    if not received:
        return Finding(Refusal.RECEIPT_MISSING)
    if moved_on:
        return Finding(Refusal.MOVED_ON)
    return Finding(Refusal.RECORDS_EDITED, tuple(sorted(touched))) if touched else Finding(None)
