"""What the use cases need from the outside, by role."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from cpro_contracts.envelope import Event
from cpro_settings.domain.opt_in import OptIn
from cpro_settings.domain.sheet import Change, StoredSheet


class Establishments(Protocol):
    """The establishments that are set up here."""

    async def known(self, uai: str) -> bool:
        """Whether there is one of this UAI."""


class SheetChange(Protocol):
    """One transaction on one sheet, which nobody else changes meanwhile."""

    current: StoredSheet

    async def save(self, stored: StoredSheet, fields: Mapping[str, tuple[str | None, str | None]]) -> None:
        """Replace the sheet and enter the change into its history."""

    async def publish(self, event: Event) -> None:
        """Let the world know, once the transaction commits."""


class Sheets(Protocol):
    """The sheets and their histories."""

    async def find(self, uai: str) -> StoredSheet:
        """The sheet; an empty one of version 0 if it was never saved."""

    def changing(self, uai: str) -> AbstractAsyncContextManager[SheetChange]:
        """A transaction on the sheet: committed when the block is left, rolled back when it raises."""

    async def history(self, uai: str, *, before_version: int | None, limit: int) -> Sequence[Change]:
        """Saved versions, newest first, older than `before_version`."""


class OptInChange(Protocol):
    """One transaction in the tenant's database that holds the opt-in locked."""

    current: OptIn

    async def next_revision(self) -> int:
        """The next value of the tenant's sequence."""

    async def save(self, opt_in: OptIn) -> None:
        """Replace the opt-in and enter it into its history."""

    async def publish(self, event: Event) -> None:
        """Let the world know, once the transaction commits."""


class OptIns(Protocol):
    """The opt-ins, each in its establishment's own database."""

    async def find(self, uai: str) -> OptIn:
        """The opt-in in force."""

    def changing(self, uai: str) -> AbstractAsyncContextManager[OptInChange]:
        """A transaction in the tenant, whose events are published after it commits."""
