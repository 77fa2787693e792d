"""What the join writes to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_contracts.pupils import PupilEvent


@dataclass(frozen=True, slots=True)
class Fact:
    """An event of a pupil or an establishment, with the time at which it was committed where it happened."""

    event: PupilEvent | EstablishmentUpdated | TransferOptInChanged
    time: datetime


PreparedFact = TypeVar("PreparedFact")


class Facts(Protocol[PreparedFact]):
    """What the join knows."""

    def prepare(self, fact: Fact) -> PreparedFact:
        """What `take_in` needs of a fact. Done ahead: it asks nothing of the database."""

    async def take_in(self, facts: Sequence[PreparedFact], partitions: Iterable[str]) -> None:
        """Note the facts of one batch, read from these Kafka partitions, and what follows from them."""
