"""What the use cases need from the outside, by role."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cpro_contracts.envelope import Event
from cpro_settings.domain.conditions import Conditions
from cpro_settings.domain.effect import Figures
from cpro_settings.domain.notifications import Mail, MailReport, News, Outcome, Preference, Round, Standing, Undone
from cpro_settings.domain.opt_in import OptIn, OptInEntry
from cpro_settings.domain.sheet import Change, StoredSheet


class Establishments(Protocol):
    """The establishments that are set up here."""

    async def known(self, uai: str) -> bool:
        """Whether there is one of this UAI."""


class SheetChange(Protocol):
    """One transaction on one sheet, which nobody else changes meanwhile."""

    current: StoredSheet

    async def since(self, version: int) -> Sequence[Change]:
        """The versions saved after this one, oldest first."""

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

    async def save(self, opt_in: OptIn, conditions: Conditions | None) -> None:
        """Replace the opt-in and enter it into its history, with the text that was accepted."""

    async def publish(self, event: Event) -> None:
        """Let the world know, once the transaction commits."""


class OptIns(Protocol):
    """The opt-ins, each in its establishment's own database."""

    async def find(self, uai: str) -> OptIn:
        """The opt-in in force."""

    async def history(self, uai: str, *, before_revision: int | None, limit: int) -> Sequence[OptInEntry]:
        """The choices, newest first, older than `before_revision`."""

    def changing(self, uai: str) -> AbstractAsyncContextManager[OptInChange]:
        """A transaction in the tenant, whose events are published after it commits."""


class TransferOutlook(Protocol):
    """What the transfer service knows of an establishment's pupils."""

    async def ask(self, uai: str, *, enabled: bool, since: datetime | None, token: str) -> Figures:
        """How pupils would stand with this opt-in, and how many transfers have ended since. Asked as the caller.

        Raises:
            FiguresAwayError: it can't be known now.
        """


class PreferenceChange(Protocol):
    """One transaction on one preference, which nobody else changes meanwhile."""

    current: Standing

    async def save(self, preference: Preference) -> None:
        """Replace the preference. What a mail server has refused before is forgotten."""


class Preferences(Protocol):
    """Which establishments want to be told of transfers."""

    async def find(self, uai: str) -> Standing:
        """The preference with what stands in its way; of version 0 if it was never saved."""

    def changing(self, uai: str) -> AbstractAsyncContextManager[PreferenceChange]:
        """A transaction on the preference: committed when the block is left, rolled back when it raises."""

    async def mails(self, uai: str, *, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[MailReport]:
        """The establishment's mails, newest first, older than `before`."""


class NewsDesk(Protocol):
    """What there is to tell."""

    async def take_in(self, news: Sequence[News], undone: Sequence[Undone], now: datetime) -> None:
        """Note what establishments want to know and have not been told, and forget what was undone.

        Safe to repeat, in any order.
        """


class Mails(Protocol):
    """The mails on their way."""

    async def form(self, round_: Round, now: datetime) -> int:
        """Make the mails that this round calls for, at most one for each establishment. Returns how many.

        Safe to repeat, and in any number of processes at once.
        """

    async def due(self, now: datetime) -> bool:
        """Whether a mail waits to be sent now."""

    async def claim(self, round_: Round, now: datetime, until: datetime) -> Mail | None:
        """Take the mail that has been due for longest, with all that it tells as of now. None: nothing is due.

        From the commit on it is in doubt, until its outcome is settled.
        """

    async def settle(self, mail: Mail, outcome: Outcome, now: datetime, again_at: datetime) -> bool:
        """Note how an attempt ended. Returns whether it was noted: another may have claimed the mail meanwhile."""

    async def forget(self, now: datetime) -> None:
        """Delete what is so old that it can't be told again, and reports that nobody looks at any more."""


class MailSession(Protocol):
    """A connection to the mail server."""

    async def send(self, mail: Mail) -> Outcome:
        """Hand one mail over. Never raises for what the server says or does."""


class MailServer(Protocol):
    """The mail server."""

    def connected(self) -> AbstractAsyncContextManager[MailSession]:
        """A connection, ready to take mails.

        Raises:
            MailServerAwayError: it does not answer, or does not let us in.
        """
