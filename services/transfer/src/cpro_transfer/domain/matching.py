"""Decide whether a departure and an arrival are one pupil changing schools. Pure: no clock, no I/O.

This is the specification. The join applies the same rule set-wise in SQL (`adapters/projection.py`), and a property
test holds the SQL to it; *explain* uses it as it stands.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from cpro_contracts.identifiers import IneStatus, is_joined
from cpro_contracts.pupils import EnrolmentSource
from cpro_contracts.transfers import Reason

JOINED_SOURCES = frozenset({EnrolmentSource.SIECLE, EnrolmentSource.REPLAY})
"""Only what a national file says, or support under an authorisation, moves records by itself (the manual)."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What is known of one pupil in one establishment, by the highest revision seen.

    `moved_at_revision` is the revision at which the records last left: as long as it is the current one, there is
    nothing more to move. A withdrawn enrolment no longer goes by this match key.
    """

    uai: str
    pupil_id: UUID
    active: bool
    source: EnrolmentSource
    ine_status: IneStatus
    revision: int
    withdrawn: bool = False
    moved_at_revision: int = 0

    @property
    def records_moved(self) -> bool:
        """Whether the records have left since the pupil last changed here."""
        return self.moved_at_revision >= self.revision


@dataclass(frozen=True, slots=True)
class Move:
    """The records go to this establishment."""

    destination_uai: str


@dataclass(frozen=True, slots=True)
class Held:
    """Something is wrong enough for a person to look, until a fact changes."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Waiting:
    """The first thing that is missing before the records can move, or why there is nothing to move."""

    reason: Reason


Decision = Move | Held | Waiting


def decide(  # noqa: PLR0911 - one question, one answer
    match_key: str, origin: Enrolment, enrolments: Iterable[Enrolment], opted_in: frozenset[str]
) -> Decision:
    """What should happen to the records that `origin` holds, given every enrolment under its match key.

    The order of the questions is the order in which an administrator can do something about the answer.
    """
    if origin.withdrawn:
        return Waiting(Reason.INE_WITHDRAWN)
    if origin.active:
        return Waiting(Reason.NOT_LEFT)
    if origin.records_moved:
        return Waiting(Reason.COMPLETED)
    if not is_joined(match_key):
        absent = origin.ine_status is IneStatus.ABSENT
        return Waiting(Reason.NO_INE if absent else Reason.INE_NOT_TRUSTED)
    if origin.source not in JOINED_SOURCES:
        return Waiting(Reason.NOT_FROM_SIECLE)
    if origin.uai not in opted_in:
        return Waiting(Reason.ORIGIN_NOT_OPTED_IN)
    arrivals = arrivals_elsewhere(origin, enrolments)
    if not arrivals:
        return Waiting(Reason.NOT_ARRIVED)
    if len(arrivals) > 1:
        return Held(Reason.AMBIGUOUS_DESTINATION)
    destination = arrivals[0].uai
    if destination not in opted_in:
        return Waiting(Reason.DESTINATION_NOT_OPTED_IN)
    return Move(destination)


def arrivals_elsewhere(origin: Enrolment, enrolments: Iterable[Enrolment]) -> list[Enrolment]:
    """Where else the pupil is active by a national file (or a replay)."""
    return [
        other
        for other in enrolments
        if other.uai != origin.uai and other.active and not other.withdrawn and other.source in JOINED_SOURCES
    ]
