"""Replays of what establishments have said: which events, what is too much to ask, and how far one has come. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID


class ReplayState(StrEnum):
    """What has become of a replay. It is counted before anything is published."""

    COUNTING = "counting"
    COUNTED = "counted"  # the dry run has ended: a person looks at the numbers, and starts it or not
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Mischosen(StrEnum):
    """Why a selection is refused."""

    NOTHING = "nothing"  # neither an establishment nor a range of time
    OPEN = "open"  # an end without a beginning
    BACKWARDS = "backwards"  # the end is not after the beginning
    TOO_LONG = "too_long"  # a longer range than event logs are kept
    WHICH_SCHOOL = "which_school"  # a pupil or an import is one establishment's, which must be named


@dataclass(frozen=True, slots=True)
class Selection:
    """Which published events of the establishments' event logs. All conditions must hold; no `uais` means all."""

    uais: tuple[str, ...] = ()
    pupil_id: UUID | None = None
    import_id: UUID | None = None
    published_from: datetime | None = None
    published_to: datetime | None = None

    def mischosen(self, now: datetime, longest: timedelta) -> Mischosen | None:
        """What is wrong with it, if anything."""
        begin, end = self.published_from, self.published_to
        if (self.pupil_id or self.import_id) and len(self.uais) != 1:
            return Mischosen.WHICH_SCHOOL
        if begin is None:
            return Mischosen.OPEN if end else None if self.uais else Mischosen.NOTHING
        end = end or now
        if end <= begin:
            return Mischosen.BACKWARDS
        return Mischosen.TOO_LONG if end - begin > longest else None


@dataclass(frozen=True, slots=True)
class EventReplay:
    """One replay, with what it comes to over all establishments."""

    id: UUID
    state: ReplayState
    selection: Selection
    events_per_second: int
    ticket: str
    requested_by: str
    requested_at: datetime
    started_by: str | None
    started_at: datetime | None
    cancelled_by: str | None
    finished_at: datetime | None
    schools: int = 0
    schools_left: int = 0
    expected: int = 0
    published: int = 0
    counts: Mapping[str, int] | None = None
    """By event type, over all establishments."""
    in_trouble: int = 0
    """Establishments that could not be asked, and will be again."""


@dataclass(frozen=True, slots=True)
class SchoolReplay:
    """The part of one establishment in a replay."""

    uai: str
    counts: Mapping[str, int]
    expected: int
    published: int
    done: bool
    trouble: str | None
