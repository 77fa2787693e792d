"""The life of a transfer, from planned to completed.

planned ─► holding ─► copying ─► landed ─► completed
└──► cancelled / held        (landed: the destination committed. From here it only goes forward.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cpro_contracts.transfers import Reason


class TransferState(StrEnum):
    """Where a transfer stands."""

    PLANNED = "planned"
    HOLDING = "holding"
    COPYING = "copying"
    LANDED = "landed"
    COMPLETED = "completed"
    HELD = "held"
    CANCELLED = "cancelled"
    UNDONE = "undone"


IN_HAND = frozenset({TransferState.HOLDING, TransferState.COPYING, TransferState.LANDED})
"""A mover may have touched a database: only a mover ends it."""

_ENDED = frozenset({TransferState.COMPLETED, TransferState.CANCELLED, TransferState.UNDONE})

RETRIED_AFTER: dict[Reason, timedelta] = {
    # What mends itself, or what operations mend without telling us, is tried again; the rest waits for a fact.
    # A disk does not empty itself in seconds, and each try copies all files again. What is only away is postponed.
    Reason.TENANT_UNAVAILABLE: timedelta(minutes=5),
    Reason.SCHEMA_BEHIND: timedelta(minutes=5),
    Reason.CATALOGUE_INCOMPLETE: timedelta(minutes=5),
    Reason.ORIGIN_NOT_OPTED_IN: timedelta(minutes=5),
    Reason.DESTINATION_NOT_OPTED_IN: timedelta(minutes=5),
    Reason.NOT_LEFT: timedelta(minutes=5),
    Reason.NOT_ARRIVED: timedelta(minutes=5),
    Reason.ATTACHMENT_UNREADABLE: timedelta(minutes=30),
}


_TELLS_NO_SCHOOL = frozenset(
    {
        Reason.IDENTITY_MISMATCH,
        Reason.AMBIGUOUS_DESTINATION,
        Reason.ORIGIN_NOT_OPTED_IN,
        Reason.DESTINATION_NOT_OPTED_IN,
        Reason.NOT_LEFT,
        Reason.NOT_ARRIVED,
        Reason.INE_NOT_TRUSTED,
    }
)
"""Held for these, it is not certain that the pupil is at the other school, or that it wants to be known."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer as the transfer database knows it."""

    id: UUID
    match_key: str
    state: TransferState
    reason: Reason | None
    origin_uai: str
    origin_pupil_id: UUID
    origin_revision: int
    destination_uai: str | None
    destination_pupil_id: UUID | None
    planned_at: datetime
    called_for_at: datetime
    """When the last of the facts that call for it happened."""
    state_changed_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    """When both receipts were there."""
    completed_at: datetime | None
    records: int | None
    reason_since: datetime | None = None
    """Since when the reason has been the same, however often it was tried again."""
    undoes: UUID | None = None
    """The completed transfer that this one takes back; None for one that the facts call for."""
    ticket: str | None = None
    """Under which support asked for it, where it undoes another."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", TransferState(self.state))
        object.__setattr__(self, "reason", Reason(self.reason) if self.reason else None)

    @property
    def standing_since(self) -> datetime:
        """Since when it has stood as it stands, for the reason that it has."""
        return self.reason_since or self.state_changed_at

    @property
    def tried_again_at(self) -> datetime | None:
        """When a mover looks at it again by itself; None: once a fact changes, or at once."""
        return self.due_at if self.reason and self.state not in _ENDED else None

    @property
    def is_cancelled_by_support(self) -> bool:
        """Whether it stays cancelled as long as the facts that call for it do not change."""
        return self.state is TransferState.CANCELLED and self.reason is Reason.CANCELLED_BY_SUPPORT

    @property
    def names_the_schools(self) -> bool:
        """Whether each school may learn which the other is: the pupil has moved there, or is sure to."""
        if self.state is TransferState.CANCELLED:
            return False
        return not (self.state is TransferState.HELD and self.reason in _TELLS_NO_SCHOOL)


@dataclass(frozen=True, slots=True)
class Claim:
    """A transfer that a mover holds a lease on, with the epoch that fences everyone before it."""

    id: UUID
    epoch: int
    match_key: str
    state: TransferState
    cancel_requested: bool
    origin_uai: str
    origin_pupil_id: UUID
    destination_uai: str
    destination_pupil_id: UUID
    undoes: UUID | None = None
    """The transfer that this one takes back: exactly the rows of its receipt move, whoever the pupil is by now."""
    traceparent: str | None = field(default=None, compare=False)
    """The trace that it belongs to."""
    imports: Sequence[str] = field(default=(), compare=False)
    """The traces of the two schools' imports that told of it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", TransferState(self.state))
