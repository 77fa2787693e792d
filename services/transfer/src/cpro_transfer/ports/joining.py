"""What the join writes to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_contracts.pupils import PupilEvent


@dataclass(frozen=True, slots=True)
class Fact:
    """An event of a pupil or an establishment, with the time at which it was committed where it happened."""

    event: PupilEvent | EstablishmentUpdated | TransferOptInChanged
    time: datetime


class Facts(Protocol):
    """What the join knows."""

    async def take_in(self, facts: Sequence[Fact], partitions: Iterable[str]) -> None:
        """Note the facts of one batch, read from these Kafka partitions, and what follows from them."""
