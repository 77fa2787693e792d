"""What the sweep reads: the files in the store, and who still knows of them."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cpro_transfer.domain.sweeping import RecordFile, Standing, Testimony


class StoredFiles(Protocol):
    """The files of records in the object store, as a sweep uses them."""

    def pages(self) -> AsyncIterator[Sequence[RecordFile]]:
        """All of them, a page at a time."""

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove files. Absent ones are fine."""

    async def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that have no file."""


class TenantFiles(Protocol):
    """What an establishment's database says of its files, as a sweep asks it.

    Raises:
        TenantInTroubleError: it can't be asked now.
    """

    async def truth(
        self, uai: str, files: Sequence[RecordFile], standings: Mapping[UUID, Standing], *, dry_run: bool
    ) -> Testimony:
        """Shut the fences of copies that no mover has in hand, then read what is named. A dry run shuts nothing."""

    async def noted_before(self, uai: str, limit: datetime) -> list[str]:
        """Some keys that finishes noted for removal before this time."""

    async def forget(self, uai: str, keys: Sequence[str]) -> None:
        """The files of these noted keys are gone."""


class Standings(Protocol):
    """What the transfer database says of transfers."""

    async def of(self, transfer_ids: Collection[UUID]) -> Mapping[UUID, Standing]:
        """Those it knows."""
