"""What export and erasure need of the databases."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from cpro_transfer.domain.subjects import Erasure, ErasurePlan, Place
from cpro_transfer.domain.support import Order


class SubjectLedger(Protocol):
    """What the transfer database holds of a pupil."""

    async def places(self, place: Place) -> tuple[Place, ...]:
        """This place, and where the records have come from or gone to by transfers that were carried out."""

    async def counts(self, places: Sequence[Place]) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """The rows that an erasure takes, and those that it leaves, by table."""

    async def contents(self, places: Sequence[Place]) -> dict[str, list[dict[str, Any]]]:
        """All of it, by table."""

    async def note_export(self, place: Place, order: Order, counts: Mapping[str, int]) -> None:
        """Write the export down in the audit trail."""

    async def erasure_of(self, place: Place) -> Erasure | None:
        """The erasure that was ordered for this place, finished or not."""

    async def begin_erasure(self, place: Place, plan: ErasurePlan, order: Order) -> Erasure:
        """Write the order down, let the join take in nothing about the pupil any more, and erase what is here.

        Raises:
            TransferUnderWayError: a transfer of the pupil is in a mover's hands; nothing was changed.
        """

    async def finish_erasure(self, erasure: Erasure, place: Place, order: Order) -> None:
        """Note that nothing is left. Safe to repeat."""


class SubjectTenants(Protocol):
    """What an establishment's database and the store hold of a pupil."""

    async def counts(self, place: Place) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """The rows that an erasure takes, and those that it leaves, by table."""

    async def contents(self, place: Place) -> dict[str, list[dict[str, Any]]]:
        """All of it, by table."""

    async def erase(self, place: Place, erasure_id: UUID) -> None:
        """Delete the rows, then the files. Safe to repeat.

        Raises:
            TransferUnderWayError: the pupil is held for a transfer; nothing was changed.
        """
