"""Who is told of completed transfers, when, and what becomes of a mail. Pure: no clock, no I/O."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

NEWS_AGE = timedelta(days=30)
"""What completed longer ago is no news: a topic that is read again from its beginning tells nobody anything."""
NEWS_KEPT = timedelta(days=60)
"""Longer than news can arrive: what was told is known for as long as it could be told again."""
MAILS_KEPT = timedelta(days=400)


class Direction(StrEnum):
    """Which way the records went, seen from the establishment that is told."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class MailState(StrEnum):
    """Where a mail stands."""

    WAITING = "waiting"
    SENT = "sent"
    """The mail server has taken it upon itself."""
    REFUSED = "refused"
    """The mail server will never take it; what it told is told in a later mail, to another address."""
    DROPPED = "dropped"
    """There is nothing left to tell, or nobody to tell it to."""


class Obstacle(StrEnum):
    """Why an establishment that wants mails gets none."""

    NO_ADDRESS = "no_address"
    ADDRESS_REFUSED = "address_refused"


@dataclass(frozen=True, slots=True)
class Preference:
    """Whether an establishment wants to be told. Version 0 was never saved, which means no."""

    uai: str
    enabled: bool = False
    version: int = 0
    enabled_since: datetime | None = None
    changed_at: datetime | None = None
    changed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A preference, with the address of the sheet, and the one that a mail server has refused for good."""

    preference: Preference
    address: str | None = None
    refused_address: str | None = None
    refused_with: str | None = None

    @property
    def obstacle(self) -> Obstacle | None:
        """What keeps mails from being sent, where they are wanted."""
        if not self.preference.enabled:
            return None
        if not self.address:
            return Obstacle.NO_ADDRESS
        return Obstacle.ADDRESS_REFUSED if self.address == self.refused_address else None


@dataclass(frozen=True, slots=True)
class News:
    """A completed transfer, for one of its two establishments."""

    transfer_id: UUID
    uai: str
    direction: Direction
    completed_at: datetime


@dataclass(frozen=True, slots=True)
class Undone:
    """A transfer that support moved back."""

    transfer_id: UUID
    undone_at: datetime


@dataclass(frozen=True, slots=True)
class Round:
    """The mails of a day. They tell what had completed when the day's hour struck."""

    day: date
    told_until: datetime


def round_at(now: datetime, zone: ZoneInfo, hour: int) -> Round:
    """The round that has begun last: today's once the local clock has struck `hour`, yesterday's before."""
    local = now.astimezone(zone)
    day = local.date() if local.hour >= hour else local.date() - timedelta(days=1)
    return Round(day, datetime.combine(day, time(hour), tzinfo=zone))


def delay_after(attempts: int, first: timedelta, longest: timedelta) -> timedelta:
    """How long a mail waits after so many attempts: twice as long each time, up to the longest."""
    doublings = min(max(attempts, 1) - 1, 20)  # enough for any longest, and within what a timedelta holds
    return min(first * (1 << doublings), longest)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it is sent: who is told what. The claim says whose turn it is to send it."""

    id: UUID
    claim: UUID
    uai: str
    name: str | None
    recipient: str
    incoming: int
    outgoing: int
    formed_at: datetime
    attempts: int
    doubted_before: bool = False
    """Whether the server may have taken it at an earlier attempt."""


@dataclass(frozen=True, slots=True)
class MailReport:
    """A mail as it is shown to its establishment."""

    id: UUID
    day: date
    state: MailState
    recipient: str | None
    incoming: int
    outgoing: int
    attempts: int
    formed_at: datetime
    settled_at: datetime | None
    tried_again_at: datetime | None
    reply: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", MailState(self.state))


@dataclass(frozen=True, slots=True)
class Sent:
    """The mail server has taken the mail upon itself."""

    reply: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The mail server will never take this mail to this address."""

    reply: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """Not this time. `in_doubt`: the server may have taken it all the same, its answer did not arrive."""

    reply: str
    in_doubt: bool = False
    server_unfit: bool = False
    """It is no fault of the mail or its address: the others would fare no better now."""


Outcome = Sent | Refused | Postponed
