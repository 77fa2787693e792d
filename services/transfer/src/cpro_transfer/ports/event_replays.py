"""Replays of what schools have published."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from cpro_transfer.domain.event_replays import EventReplay, ReplayState, Selection


@dataclass(frozen=True, slots=True)
class LogCount:
    """How many events of an establishment's log are chosen, by type, and the last position among them."""

    by_type: Mapping[str, int]
    last_position: int


class EventLogs(Protocol):
    """What the establishments have published, in their own databases."""

    async def count(self, uai: str, selection: Selection) -> LogCount:
        """How much is chosen there."""

    async def publish_again(
        self, uai: str, selection: Selection, *, replay_id: UUID, after: int, up_to: int, limit: int
    ) -> tuple[int, int]:
        """Publish the next `limit` chosen events after a position; returns how many, and the last's position."""


@dataclass(frozen=True, slots=True)
class ReplayTurn:
    """What is to be done next of a replay: the part of one establishment."""

    replay_id: UUID
    state: ReplayState
    selection: Selection
    events_per_second: int
    uai: str
    position: int
    last_position: int


class ReplayInHand(Protocol):
    """A replay that nobody else works on meanwhile."""

    turn: ReplayTurn

    async def note_count(self, count: LogCount) -> None:
        """This establishment is counted."""

    async def note_published(self, number: int, position: int, *, done: bool) -> None:
        """So many more events are on Kafka, up to this position."""

    async def put_off(self, trouble: str) -> None:
        """This establishment can't be asked now; the others go on."""


class ReplayJobs(Protocol):
    """The replays, as they are kept."""

    async def enter(
        self, replay_id: UUID, selection: Selection, uais: Sequence[str], *, rate: int, ticket: str, by: str
    ) -> None:
        """Write a replay down, to be counted. One that is there already is left as it is."""

    async def find(self, replay_id: UUID) -> EventReplay | None:
        """One replay, with what it comes to."""

    async def start(self, replay_id: UUID, by: str) -> bool:
        """Let one that is counted run. False: it is not counted, or has been started."""

    async def cancel(self, replay_id: UUID, by: str) -> bool:
        """End one that has not ended. False: it has."""

    def next(self) -> AbstractAsyncContextManager[ReplayInHand | None]:
        """What is due, if anything is. Committed on leaving the block; nobody else has the replay meanwhile."""
