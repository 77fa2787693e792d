"""A settings service that sends mails to a real mail server, by a clock that a test sets."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row

from cpro_contracts.envelope import Envelope, Event
from cpro_contracts.transfers import TransferCompleted, TransferUndone
from cpro_embedded.endpoints import Endpoints
from cpro_embedded.ports import LOCALHOST
from cpro_platform.clock import SettableClock
from cpro_platform.config import DatabaseSettings
from cpro_platform.consuming import Message
from cpro_platform.database import Database
from cpro_settings.bootstrap import Service, Work, prepare
from cpro_settings.config import Config, NotificationSettings, SmtpSettings
from cpro_settings.domain.notifications import Standing
from cpro_settings.domain.sheet import Sheet, StoredSheet
from cpro_settings.handlers import notifying
from cpro_test_support.mail_server import Mailbox
from cpro_test_support.schools import fresh_database
from cpro_test_support.transfers import environment_of

MONDAY_NOON = datetime(2026, 9, 7, 12, tzinfo=UTC)
SENDER = "ne-pas-repondre@cpro.example"
LIST_URL = "https://cpro.example/etablissements/{uai}/transferts"
LEASE_SECONDS = 30.0
_END_SECONDS = 120.0
"""Starting and ending a process, on a machine that has much else to do."""


def completed(origin: str, destination: str, at: datetime, transfer_id: UUID | None = None) -> TransferCompleted:
    """The event of a transfer that has completed."""
    return TransferCompleted(
        transfer_id=transfer_id or uuid4(), match_key="1:of-a-pupil", origin_uai=origin, origin_pupil_id=uuid4(),
        origin_revision=1, destination_uai=destination, destination_pupil_id=uuid4(), occurred_at=at, records=3,
    )  # fmt: skip


def undone(event: TransferCompleted, at: datetime) -> TransferUndone:
    """The event of its undoing."""
    return TransferUndone.model_validate(event.model_dump() | {"occurred_at": at, "ticket": "T-1"})


@dataclass(slots=True)
class NotifyWorld:
    """A settings service with a database of its own, its mail server, and its clock."""

    config: Config
    service: Service
    database: Database
    clock: SettableClock
    mailbox: Mailbox

    async def has_sheet(self, uai: str, email: str | None, name: str = "Lycée Jean-Jaurès") -> None:
        """Save the sheet of an establishment, whatever its rules say."""
        async with self.service.sheets.changing(uai) as change:
            version = change.current.version + 1
            await change.save(StoredSheet(uai, Sheet(name=name, email=email), version, self.clock.now(), "a"), {})

    async def chooses(self, uai: str, *, enabled: bool = True) -> Standing:
        """Switch mails on or off."""
        return await notifying.choose_preference(
            uai, enabled=enabled, by="admin-1", check_version=lambda _: None,
            establishments=self.service.establishments, preferences=self.service.preferences, clock=self.clock,
        )  # fmt: skip

    async def wants_mails(self, uai: str, email: str) -> None:
        """An address, and mails switched on."""
        await self.has_sheet(uai, email)
        await self.chooses(uai)

    async def hears(self, *events: Event) -> None:
        """Take in events, in one batch."""
        await notifying.on_transfers(self._messages(events), desk=self.service.news_desk, clock=self.clock)

    @staticmethod
    def _messages(events: Sequence[Event]) -> list[Message]:
        envelopes = [Envelope(uuid4(), "/tests", MONDAY_NOON, event) for event in events]
        return [Message("cpro.transfer", 0, number, envelope) for number, envelope in enumerate(envelopes)]

    async def transfers(self, origin: str, destination: str, number: int = 1) -> list[TransferCompleted]:
        """Transfers complete now, and are heard of."""
        events = [completed(origin, destination, self.clock.now()) for _ in range(number)]
        await self.hears(*events)
        return events

    async def sends(self) -> int:
        """What the sending process does each time. Returns the number of attempts."""
        return await self.service.notifier().send_due()

    def next_day(self, days: int = 1) -> None:
        """Let a day pass."""
        self.clock.advance(timedelta(days=days))

    async def mails(self, uai: str) -> list[dict[str, Any]]:
        """The mails of an establishment, oldest first."""
        return await self._rows("SELECT * FROM notification_mail WHERE uai = %s ORDER BY formed_at, id", uai)

    async def news(self, uai: str) -> list[dict[str, Any]]:
        """What it is told, or will be."""
        return await self._rows("SELECT * FROM notification_news WHERE uai = %s ORDER BY completed_at", uai)

    async def _rows(self, query: str, uai: str) -> list[dict[str, Any]]:
        async with self.database.begin() as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, (uai,))
            return await cursor.fetchall()


@asynccontextmanager
async def opened_notify_world(
    like: Config, endpoints: Endpoints, mailbox: Mailbox, *, start: datetime = MONDAY_NOON, **smtp: object
) -> AsyncIterator[NotifyWorld]:
    """A service like another, with a database of its own, that sends to this mailbox."""
    server = {"host": LOCALHOST, "port": mailbox.port, "security": "none", "sender": SENDER, "timeout_seconds": 5}
    config = like.model_copy(
        update={
            "database": DatabaseSettings.model_validate({"url": await fresh_database(endpoints, "cpro_settings")}),
            "smtp": SmtpSettings.model_validate(server | smtp),
            "notifications": NotificationSettings(
                list_url=LIST_URL, lease_seconds=LEASE_SECONDS, poll_seconds=0.2, group=f"notify-{uuid4().hex[:8]}"
            ),
        }
    )
    await prepare(config)
    clock = SettableClock(start)
    database = Database(config.database.conninfo, name="test-notify", max_connections=2)
    await database.open()
    try:
        async with Service(config, clock=clock, work=Work.NOTHING) as service:
            yield NotifyWorld(config, service, database, clock, mailbox)
    finally:
        await database.close()


class NotifyProcess:
    """`cpro-settings notify`, as an installation runs it. Killed at the end if it still runs."""

    def __init__(self, config: Config, *, crash_at: str | None = None, **environment: str) -> None:
        crash = {"CPRO_CRASH_AT": crash_at} if crash_at else {}
        self._environment = environment_of(config) | crash | environment
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "NotifyProcess":
        code = "from cpro_settings.entrypoints.cli import app; app()"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, "notify", env=os.environ | self._environment,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> tuple[int | None, str]:
        """Wait for its end: the exit status, negative for a signal, and its log."""
        assert self._process is not None
        async with asyncio.timeout(_END_SECONDS):
            _, log = await self._process.communicate()
        return self._process.returncode, log.decode()
