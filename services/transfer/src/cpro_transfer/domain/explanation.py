"""Tell an administrator why a pupil's records have or have not moved, by a code of the closed list, and since when.

An administrator learns of another establishment only what they need: its name once the pupil is active there and both
have opted in. `since` is the time of the newest fact that the answer rests on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cpro_contracts.identifiers import IneStatus, is_joined
from cpro_contracts.pupils import EnrolmentSource
from cpro_contracts.transfers import Reason
from cpro_transfer.domain.matching import (
    JOINED_SOURCES,
    Decision,
    Enrolment,
    Held,
    Move,
    Waiting,
    arrivals_elsewhere,
    decide,
)
from cpro_transfer.domain.transfers import Transfer, TransferState


class Direction(StrEnum):
    """Seen from the establishment that asks."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"


class Condition(StrEnum):
    """What a transfer needs (the manual: Prérequis)."""

    HAS_TRUSTED_INE = "has_trusted_ine"
    HAS_LEFT_ORIGIN = "has_left_origin"
    ORIGIN_OPTED_IN = "origin_opted_in"
    HAS_ARRIVED = "has_arrived"
    DESTINATION_OPTED_IN = "destination_opted_in"


@dataclass(frozen=True, slots=True)
class Known:
    """An enrolment as the transfer database has it, with since when."""

    enrolment: Enrolment
    since: datetime


@dataclass(frozen=True, slots=True)
class Door:
    """An establishment's opt-in, with since when it has been as it is."""

    open: bool
    since: datetime | None


@dataclass(frozen=True, slots=True)
class OwnPupil:
    """The pupil as the establishment's own database has them."""

    active: bool
    source: EnrolmentSource
    ine_status: IneStatus
    revision: int
    state_changed_at: datetime
    records_moved_at: datetime | None
    opted_in: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why, since when, and which of the conditions hold."""

    direction: Direction
    reason: Reason
    since: datetime
    conditions: Mapping[Condition, bool]
    transfer: Transfer | None = None
    other_uai: str | None = None
    """The other establishment, where it may be named."""


_UNDER_WAY = frozenset({TransferState.PLANNED, TransferState.HOLDING, TransferState.COPYING, TransferState.LANDED})


def explain(
    uai: str,
    match_key: str,
    enrolments: Sequence[Known],
    doors: Mapping[str, Door],
    transfers: Sequence[Transfer],
    *,
    now: datetime,
) -> Explanation:
    """What to tell the establishment `uai`, which has one of the `enrolments`.

    `doors` has the opt-ins that were ever announced; `transfers` those of this match key, newest first.
    """
    here = next(known for known in enrolments if known.enrolment.uai == uai)
    origin = _origin_to_explain(here, enrolments)
    opted_in = frozenset(other for other, door in doors.items() if door.open)
    everyone = [known.enrolment for known in enrolments]
    decision = decide(match_key, origin.enrolment, everyone, opted_in)
    arrivals = arrivals_elsewhere(origin.enrolment, everyone)
    transfer = _latest(transfers, origin.enrolment)
    conditions = {
        Condition.HAS_TRUSTED_INE: is_joined(match_key),
        Condition.HAS_LEFT_ORIGIN: not origin.enrolment.active,
        Condition.ORIGIN_OPTED_IN: origin.enrolment.uai in opted_in,
        Condition.HAS_ARRIVED: len(arrivals) > 0,
        Condition.DESTINATION_OPTED_IN: len(arrivals) == 1 and arrivals[0].uai in opted_in,
    }
    reason, since = _of_facts(decision, here, origin, enrolments, doors)
    if transfer and transfer.state is TransferState.CANCELLED and not isinstance(decision, Move):
        transfer = None  # support's word stands against the facts that call for it, and these do not
    if not isinstance(decision, Held):  # of that the transfer says the same, but not since when
        reason, since = _of_transfer(transfer, now, called_for=since) or (reason, since)
    sure = transfer.names_the_schools if transfer else isinstance(decision, Move)
    other = _nameable(uai, origin.enrolment, arrivals, opted_in) if sure else None
    if transfer and len(arrivals) == 1 and transfer.destination_uai != arrivals[0].uai:
        other = None  # they have gone on to another school since
    direction = Direction.OUTGOING if origin is here else Direction.INCOMING
    return Explanation(direction, reason, since, conditions, transfer, other)


def explain_unannounced(pupil: OwnPupil) -> Explanation:
    """What to tell of a pupil whose latest change the join has not heard of: what their own establishment knows."""
    if pupil.records_moved_at and not pupil.active:
        reason, since = Reason.COMPLETED, pupil.records_moved_at
    elif pupil.source not in JOINED_SOURCES:
        # Entered by hand: nothing is announced of them, and nothing will be until a national file names them.
        reason, since = Reason.NOT_FROM_SIECLE, pupil.state_changed_at
    else:
        reason, since = Reason.NOT_YET_ANNOUNCED, pupil.state_changed_at
    conditions = {
        Condition.HAS_TRUSTED_INE: pupil.ine_status is IneStatus.TRUSTED,
        Condition.HAS_LEFT_ORIGIN: not pupil.active,
        Condition.ORIGIN_OPTED_IN: pupil.opted_in,
        Condition.HAS_ARRIVED: False,
        Condition.DESTINATION_OPTED_IN: False,
    }
    return Explanation(Direction.OUTGOING, reason, since, conditions)


def _origin_to_explain(here: Known, enrolments: Sequence[Known]) -> Known:
    """Of a pupil who is active here, the records that may still come are elsewhere; otherwise those that are here.

    Where the pupil was at several schools before, those that have not come yet are what an administrator asks about.
    """
    if not here.enrolment.active:
        return here
    elsewhere = [known for known in enrolments if known is not here and not known.enrolment.withdrawn]
    left = [known for known in elsewhere if not known.enrolment.active]
    waiting = [known for known in left if not known.enrolment.records_moved]
    return max(waiting or left or elsewhere, key=lambda known: known.since, default=here)


def _latest(transfers: Sequence[Transfer], origin: Enrolment) -> Transfer | None:
    own = (t for t in transfers if t.origin_uai == origin.uai and t.origin_revision == origin.revision)
    return next((t for t in own if t.state is not TransferState.CANCELLED or t.is_cancelled_by_support), None)


def _of_transfer(transfer: Transfer | None, now: datetime, *, called_for: datetime) -> tuple[Reason, datetime] | None:
    """What a transfer that stands says, since when. One that is just on its way is so since it was called for."""
    if transfer is None:
        return None
    if transfer.state is TransferState.UNDONE:
        return Reason.UNDONE, transfer.state_changed_at
    if transfer.state is TransferState.COMPLETED:
        return Reason.COMPLETED, transfer.completed_at or transfer.state_changed_at
    if transfer.reason:
        return transfer.reason, transfer.standing_since
    if transfer.state is TransferState.PLANNED and transfer.due_at and transfer.due_at > now:
        return Reason.SETTLING, called_for
    return (Reason.IN_PROGRESS, called_for) if transfer.state in _UNDER_WAY else None


def _of_facts(
    decision: Decision, here: Known, origin: Known, enrolments: Sequence[Known], doors: Mapping[str, Door]
) -> tuple[Reason, datetime]:
    """What the facts say, and the time of the newest one among those that say it."""
    by_hand_here = origin is not here and here.enrolment.source not in JOINED_SOURCES
    if by_hand_here and isinstance(decision, Waiting) and decision.reason is Reason.NOT_ARRIVED:
        return Reason.NOT_FROM_SIECLE, here.since  # the pupil is here, and only a file makes that an arrival
    reason = Reason.IN_PROGRESS if isinstance(decision, Move) else decision.reason
    times = _deciding(reason, origin, enrolments, doors)
    if origin is here and here.enrolment.active:
        # Until another school took back what it had said, its records were what was asked about.
        times += [known.since for known in enrolments if known.enrolment.withdrawn]
    return reason, max(time for time in times if time is not None)


def _deciding(
    reason: Reason, origin: Known, enrolments: Sequence[Known], doors: Mapping[str, Door]
) -> list[datetime | None]:
    never = Door(open=False, since=None)
    door = doors.get(origin.enrolment.uai, never).since
    arrived = {other.uai for other in arrivals_elsewhere(origin.enrolment, [known.enrolment for known in enrolments])}
    match reason:
        case Reason.ORIGIN_NOT_OPTED_IN:
            return [origin.since, door]
        case Reason.AMBIGUOUS_DESTINATION:
            second = sorted(known.since for known in enrolments if known.enrolment.uai in arrived)[1]
            return [origin.since, door, second]
        case Reason.NOT_ARRIVED | Reason.DESTINATION_NOT_OPTED_IN | Reason.IN_PROGRESS:
            # Each school elsewhere counts: that none, or only one, has the pupil may be so since another let go.
            elsewhere = [known.since for known in enrolments if known.enrolment.uai != origin.enrolment.uai]
            return [origin.since, door, *elsewhere, *(doors.get(uai, never).since for uai in arrived)]
    return [origin.since]


def _nameable(uai: str, origin: Enrolment, arrivals: Sequence[Enrolment], opted_in: frozenset[str]) -> str | None:
    """The other establishment: while the pupil is active at one other than the origin, and both have opted in."""
    pair = [origin.uai, *(arrival.uai for arrival in arrivals)]
    if len(pair) != 2 or not opted_in.issuperset(pair) or uai not in pair:
        return None
    return next(other for other in pair if other != uai)
