"""Dead letters, and the topics that they came from."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from cpro_transfer.domain.dead_letters import Choice, Letter, LetterCount, LetterState, Settling


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """A dead letter, with its place on its topic of dead letters."""

    topic: str
    partition: int
    offset: int
    letter: Letter


class LockedLetters(Protocol):
    """Letters that nobody else can settle meanwhile."""

    letters: Sequence[Letter]

    async def settle(self, ids: Collection[UUID], state: LetterState, settling: Settling) -> None:
        """Note what became of these."""


class Letters(Protocol):
    """The dead letters, as they are kept."""

    async def enter(self, found: Sequence[FoundLetter]) -> None:
        """Write down what was read. Safe to repeat, and beside others who read the same."""

    async def read_up_to(self) -> dict[tuple[str, int], int]:
        """By topic of dead letters and partition: the offset to go on from."""

    async def forget(self, kept: timedelta) -> None:
        """Delete what is older than its topic keeps it."""

    async def counts(self, choice: Choice) -> list[LetterCount]:
        """How many there are, by topic, cause and state."""

    async def find(self, ids: Sequence[UUID]) -> list[Letter]:
        """Those of these that there are."""

    def locked(self, choice: Choice, limit: int) -> AbstractAsyncContextManager[LockedLetters]:
        """The chosen letters, `limit` at most of a topic and cause. Committed on leaving the block."""


class SourceTopics(Protocol):
    """Where dead letters came from."""

    async def give_back(self, letters: Sequence[Letter]) -> None:
        """Publish the messages as they were, marked as replayed."""

    async def superseded(self, letters: Sequence[Letter]) -> set[UUID]:
        """Those whose topic keeps only the last message of each key, and has a newer one of theirs."""
