"""What support may do to a transfer, and when. Pure: no clock, no I/O."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from cpro_transfer.domain.transfers import IN_HAND, Transfer, TransferState

TICKET_FORM = r"[A-Z][A-Z0-9]{1,15}-[0-9]{1,10}"
"""Letters that name the queue, a hyphen, a number: CPRO-10482."""


class Action(StrEnum):
    """What the audit trail tells of. Whoever adds a way to act adds it here."""

    RETRIED = "transfer.retried"
    CANCELLED = "transfer.cancelled"
    UNDO_ASKED = "transfer.undo_asked"
    AUTHORISED = "authorisation.recorded"
    REVOKED = "authorisation.revoked"
    REPLAY_CHOSEN = "authorisation.replay_chosen"
    REPLAY_GIVEN_UP = "authorisation.replay_given_up"
    REPLAYED = "authorisation.replayed"
    LETTER_REPLAYED = "dead_letter.replayed"
    LETTER_SUPERSEDED = "dead_letter.superseded"
    LETTER_DISCARDED = "dead_letter.discarded"
    EVENTS_STARTED = "event_replay.started"
    EVENTS_CANCELLED = "event_replay.cancelled"
    SUBJECT_EXPORTED = "subject.exported"
    ERASURE_BEGUN = "subject.erasure_begun"
    SUBJECT_ERASED = "subject.erased"


@dataclass(frozen=True, slots=True)
class Order:
    """Who asks for something, as what, under which ticket."""

    actor: str
    """The subject of the caller's token."""
    role: str
    ticket: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that somebody did. No name is in it; `facts` hold codes, counts and ids."""

    order: Order
    action: str
    transfer_id: UUID | None = None
    subject_id: UUID | None = None
    """What else it was done to: an authorisation, a replay, a dead letter."""
    origin_uai: str | None = None
    origin_pupil_id: UUID | None = None
    destination_uai: str | None = None
    destination_pupil_id: UUID | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def entry_for(order: Order, action: Action, transfer: Transfer, **facts: Any) -> AuditEntry:
    """What to write of something done to a transfer."""
    return AuditEntry(
        order,
        action,
        transfer_id=transfer.id,
        origin_uai=transfer.origin_uai,
        origin_pupil_id=transfer.origin_pupil_id,
        destination_uai=transfer.destination_uai,
        destination_pupil_id=transfer.destination_pupil_id,
        facts=facts,
    )


class Cancelling(StrEnum):
    """What cancelling a transfer comes to."""

    AT_ONCE = "at_once"
    ASKED_FOR = "asked_for"
    """A mover has it in hand, and stops unless it has landed by then."""
    TOO_LATE = "too_late"
    """It has landed: it only goes forward. Or it has ended."""


def cancelling(state: TransferState) -> Cancelling:
    """What cancelling a transfer in this state comes to."""
    if state in {TransferState.PLANNED, TransferState.HELD}:
        return Cancelling.AT_ONCE
    return Cancelling.ASKED_FOR if state in IN_HAND - {TransferState.LANDED} else Cancelling.TOO_LATE


def waits_for_a_retry(transfer: Transfer, *, leased: bool) -> bool:
    """Whether it is held or postponed, so that trying it now means something.

    One without a known destination is held for the schools to agree, and no mover could do anything with it.
    """
    if transfer.destination_uai is None or leased:
        return False
    postponed = transfer.state in IN_HAND | {TransferState.PLANNED} and transfer.reason is not None
    return transfer.state is TransferState.HELD or postponed
