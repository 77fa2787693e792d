"""Dead letters as support sees them: what may be said of one, and what may still be done with it. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class LetterState(StrEnum):
    """What has become of a dead letter. Only what waits can be settled, and only once."""

    WAITING = "waiting"
    REPLAYED = "replayed"  # back on its topic, marked with the letter's id
    DISCARDED = "discarded"  # by a person, with a reason
    SUPERSEDED = "superseded"  # its topic keeps the last message of each key, and has a newer one


@dataclass(frozen=True, slots=True)
class Letter:
    """One message that could not be handled, untouched, with why and where from."""

    id: UUID
    topic: str
    """Where it was read, and where a replay takes it back to."""
    partition: int | None
    offset: int | None
    set_aside_at: datetime
    cause: str
    detail: str
    group: str
    event_type: str
    uai: str
    """As the message's `ce_subject` says."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    """The original ones, without what was noted when it was set aside."""
    replay_of: UUID | None
    """The letter whose replay came back as this one."""
    state: LetterState
    settled_at: datetime | None = None
    settled_by: str | None = None
    ticket: str | None = None
    reason: str | None = None
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters: these, or all that wait of a topic and a cause."""

    ids: tuple[UUID, ...] = ()
    topic: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Settling:
    """Who settles letters, under which ticket. `request_id` makes an answer that got lost safe to ask for again."""

    by: str
    ticket: str
    request_id: UUID
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LetterCount:
    """How many letters of a topic, cause and state there are, and between which times they were set aside."""

    topic: str
    cause: str
    state: LetterState
    number: int
    oldest: datetime
    newest: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", LetterState(self.state))
