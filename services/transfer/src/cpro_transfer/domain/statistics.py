"""How transfers go: how many stand where and why, how long they take, which has waited longest. Names no one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cpro_contracts.transfers import Reason
from cpro_transfer.domain.transfers import TransferState

ENDED = frozenset({TransferState.COMPLETED, TransferState.CANCELLED, TransferState.UNDONE})
"""Nothing more will happen to these by itself."""
MOVING = frozenset(TransferState) - ENDED - {TransferState.HELD}
"""These should be at the destination soon; what is held waits for a fact or a person, and may for months."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How many transfers stand in one state for one reason."""

    state: TransferState
    reason: Reason | None
    number: int
    oldest_called_for_at: datetime | None
    """When the last of the facts that call for the oldest of them happened. None for what has ended."""
    oldest_id: UUID | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", TransferState(self.state))
        object.__setattr__(self, "reason", Reason(self.reason) if self.reason else None)


@dataclass(frozen=True, slots=True)
class Landings:
    """How long it took from the second fact to the landing; in seconds, None where nothing has landed."""

    number: int
    median_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    longest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """All of it, as it was at one instant."""

    taken_at: datetime
    standings: Sequence[Standing]
    landings: Landings
    landings_window: timedelta
    """How far back the landings go."""

    @property
    def oldest_waiting(self) -> Standing | None:
        """Where the transfer is that has been on its way for longest; what is held is not on its way."""
        waiting = [one for one in self.standings if one.state in MOVING and one.oldest_called_for_at is not None]
        return min(waiting, key=_oldest, default=None)


def _oldest(standing: Standing) -> datetime:
    assert standing.oldest_called_for_at is not None
    return standing.oldest_called_for_at
