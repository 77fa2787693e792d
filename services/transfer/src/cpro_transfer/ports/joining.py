"""What the join writes to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_contracts.pupils import PupilEvent


@dataclass(frozen=True, slots=True)
class Fact:
    """An event of a pupil or an establishment, with the time at which it was committed where it happened."""

    event: PupilEvent | EstablishmentUpdated | TransferOptInChanged
    time: datetime


class Trace(NamedTuple):
    """The trace that a fact belongs to: the `traceparent` that it came with, and the one that it goes on with."""

    came_with: str | None
    goes_on_as: str | None


PreparedFact = TypeVar("PreparedFact")


class Facts(Protocol[PreparedFact]):
    """What the join knows."""

    def prepare(self, fact: Fact) -> PreparedFact:
        """What `take_in` needs of a fact. Done ahead: it asks nothing of the database."""

    async def take_in(
        self, facts: Sequence[PreparedFact], partitions: Iterable[str], traces: Sequence[Trace] = ()
    ) -> None:
        """Note the facts of one batch, read from these Kafka partitions, and what follows from them.

        `traces` are those of the facts, one for each.
        """
