"""What the transfer database knows, and what the schools' own databases say."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from cpro_transfer.domain.reconciliation import Differences, KnownState, PupilTruth, Truth
from cpro_transfer.domain.transfer_traces import End, Entry, RestoredTransfer, Trace


class KnownFacts(Protocol):
    """The transfer database, as it is compared with the establishments' and brought to their word."""

    async def known(self, uai: str) -> KnownState:
        """What the join knows of this establishment."""

    async def entries(self, uai: str) -> dict[UUID, Entry]:
        """The transfers into and out of this establishment that are not cancelled without a trace, by id."""

    async def candidates(self, uai: str, match_keys: Collection[str]) -> dict[str, list[str]]:
        """By match key: the other establishments that are known to have this pupil."""

    async def enter(self, transfers: Sequence[RestoredTransfer]) -> int:
        """Write transfers down again, with what has moved. Those that are there by now are left alone."""

    async def carry_on(self, entries: Sequence[Entry]) -> int:
        """Let a mover look at these, unless they have changed since they were read."""

    async def note_moved(self, uai: str, pupils: Sequence[PupilTruth]) -> None:
        """The records of these pupils have left at their revision: nothing is to be planned from it."""


class TenantTruth(Protocol):
    """An establishment's own database in one snapshot."""

    async def truth(self) -> Truth:
        """Its pupils, its opt-in and what it has not said yet."""

    async def traces(self) -> dict[UUID, Trace]:
        """Its receipts and holds, by transfer."""

    async def ends(self, transfer_ids: Collection[UUID], *, match_keys: Mapping[UUID, str]) -> dict[UUID, End]:
        """All that is there of these transfers; where only the pupil's key tells who it was, that is given."""


class TenantWriting(TenantTruth, Protocol):
    """The same, while nobody else changes a pupil or the opt-in there; what is said is published at the commit."""

    async def renumber(self, differences: Differences) -> None:
        """Let the revisions go on after what is known, and give new ones to what would be ignored."""

    async def say(self, differences: Differences) -> None:
        """Publish the current states, and withdraw what nobody has any more."""


class TenantTruths(Protocol):
    """All establishments' databases."""

    def reading(self, uai: str) -> AbstractAsyncContextManager[TenantTruth]:
        """One snapshot."""

    def writing(self, uai: str) -> AbstractAsyncContextManager[TenantWriting]:
        """A transaction whose events are on Kafka soon after it commits."""
