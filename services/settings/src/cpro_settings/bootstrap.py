"""Builds and wires the service. The only place that reads its configuration."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from enum import Flag, auto
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import structlog

from cpro_contracts import topics
from cpro_platform.auth import Authenticator
from cpro_platform.clock import Clock, SystemClock
from cpro_platform.consuming import Consumer, Message
from cpro_platform.database import Database, prepare_own_database
from cpro_platform.dead_letters import DeadLetters
from cpro_platform.kafka import EventPublisher, ensure_topics
from cpro_platform.metrics import Metrics
from cpro_platform.outbox import Relay
from cpro_platform.process import Background
from cpro_platform.readiness import Readiness
from cpro_platform.retry import backoff
from cpro_platform.transience import is_transient
from cpro_settings.adapters.notifications import PostgresMails, PostgresNewsDesk, PostgresPreferences
from cpro_settings.adapters.postgres import PostgresSheets
from cpro_settings.adapters.smtp import SmtpServer
from cpro_settings.adapters.tenants import DirectoryEstablishments, TenantOptIns
from cpro_settings.adapters.transfer_service import HttpTransferOutlook
from cpro_settings.config import Config
from cpro_settings.domain.conditions import EVERY_VERSION, Conditions
from cpro_settings.errors import MailServerAwayError
from cpro_settings.handlers.notifying import Notifier, Times, on_transfers
from cpro_tenant_db import privileges
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Directory
from cpro_tenant_db.roles import ServiceLogins
from cpro_tenant_db.tenant_outbox import TenantOutbox

MIGRATIONS = Path(__file__).parent / "migrations"
NAME = "cpro-settings"
_TOPICS = (topics.ESTABLISHMENT, topics.TRANSFER)


class Work(Flag):
    """What a process of this service does besides answering on HTTP."""

    NOTHING = 0
    RELAY = auto()
    NOTIFY = auto()


class Service:
    """The service, wired. An async context manager that opens its connections and closes them.

    `work` says what it does besides: `RELAY` publishes its outbox and what was left in the tenants' outboxes, as
    `cpro-settings relay` does; `NOTIFY` tells establishments of transfers by e-mail, as `cpro-settings notify` does. An
    installation runs these beside any number of API processes. `transfer_transport` reaches a transfer service that
    runs in the same process.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        work: Work = Work.RELAY,
        conditions: tuple[Conditions, ...] = EVERY_VERSION,
        transfer_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.metrics = metrics or Metrics()
        self.readiness = Readiness()
        self.authenticator = Authenticator(config.oidc, self.clock)
        self.background = Background(self.readiness)
        self.conditions = conditions
        self._transfer_transport = transfer_transport
        self._work = work
        self._log = structlog.get_logger()
        self._opened = AsyncExitStack()
        self._build()

    def _build(self) -> None:
        config = self.config
        self._database = Database(config.database.conninfo, name=NAME, max_connections=config.database.max_connections)
        logins = ServiceLogins.of(privileges.Service.SETTINGS, config.tenants)
        self._directory_database = Database(
            logins.to_directory(config.tenants.directory_conninfo), name=NAME, max_connections=4
        )
        self._publisher = EventPublisher(config.kafka.bootstrap_servers, client_id=NAME, metrics=self.metrics)
        directory = Directory(self._directory_database)
        self._tenants = TenantConnections(
            directory,
            config.tenants.cluster_conninfos,
            application_name=NAME,
            logins=logins,
            max_open=config.tenants.max_open_connections,
            idle_seconds=config.tenants.idle_seconds,
        )
        self._tenant_outbox = TenantOutbox(
            self._database,
            self._tenants,
            self._publisher,
            kept=config.tenants.event_log_kept,
            metrics=self.metrics,
        )
        self.establishments = DirectoryEstablishments(directory)
        self.sheets = PostgresSheets(self._database, self.clock)
        self.opt_ins = TenantOptIns(self._tenants, self._tenant_outbox, self.clock)
        self.outlook = HttpTransferOutlook(config.transfer_service, self._transfer_transport)
        self.preferences = PostgresPreferences(self._database)
        self.news_desk = PostgresNewsDesk(self._database)
        self._database.measure(self.metrics, f"{NAME}/service")
        self._directory_database.measure(self.metrics, f"{NAME}/directory")
        self._tenants.measure(self.metrics)
        self.readiness.add_probe("database", self._database.ping)
        self.readiness.add_probe("tenant-directory", self._directory_database.ping)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for database in (self._database, self._directory_database):
                await database.open()
                opening.push_async_callback(database.close)
            opening.push_async_callback(self._tenants.close)
            opening.push_async_callback(self._publisher.stop)
            opening.push_async_callback(self.outlook.close)
            opening.push_async_callback(self.background.stop)
            self._start_work()
            self._opened = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    def notifier(self) -> Notifier:
        """A sender of mails, by the mail server of the configuration."""
        config, said = self.config, self.config.notifications
        counted = self.metrics.counter(
            "cpro_settings_mails_total", "Attempts to send a mail, by how they ended", ["outcome"]
        )
        times = Times(
            zone=said.zone,
            hour=said.hour,
            lease=timedelta(seconds=said.lease_seconds),
            retry_first=timedelta(seconds=said.retry_first_seconds),
            retry_longest=timedelta(seconds=said.retry_longest_seconds),
        )
        return Notifier(
            PostgresMails(self._database),
            SmtpServer(config.smtp, list_url=said.list_url),
            self.clock,
            times,
            tell=lambda outcome: counted.labels(outcome).inc(),
        )

    def _start_work(self) -> None:
        if Work.RELAY in self._work:
            relay = Relay(
                self._database,
                self._publisher,
                self.readiness,
                kept=self.config.tenants.event_log_kept,
                metrics=self.metrics,
            )
            self.background.start("relay", relay.run)
            self.background.start("leftovers", self._tenant_outbox.look_after_leftovers)
        if Work.NOTIFY in self._work:
            self.background.start("news", self._news_consumer().run)
            self.background.start("notifier", partial(self._notify_on, self.notifier()))

    def _news_consumer(self) -> Consumer[Message]:
        group = self.config.notifications.group
        return Consumer(
            self.config.kafka.bootstrap_servers,
            group=group,
            topics=[topics.TRANSFER],
            handle=partial(on_transfers, desk=self.news_desk, clock=self.clock),
            dead_letters=DeadLetters(self._publisher, group=group, clock=self.clock),
            readiness=self.readiness,
            metrics=self.metrics,
        )

    async def _notify_on(self, notifier: Notifier) -> None:
        """Send what is due until cancelled. Waits out a database or a mail server that is away."""
        delays = backoff(first_seconds=1, longest_seconds=300)
        while True:
            try:
                await notifier.send_due()
            except Exception as error:
                if not is_transient(error):
                    raise
                self.readiness.not_ready("notifier", type(error).__name__)
                self._log.warning("notifier.waiting", error=type(error).__name__, detail=_harmless(error))
                await asyncio.sleep(next(delays))
                continue
            self.readiness.ready("notifier")
            delays = backoff(first_seconds=1, longest_seconds=300)
            await asyncio.sleep(self.config.notifications.poll_seconds)


def _harmless(error: Exception) -> str:
    """What may stand in a log: our own words only."""
    return str(error) if isinstance(error, MailServerAwayError) else ""


async def prepare(config: Config) -> None:
    """Create the service's database and topics where absent, and bring the schema to the newest. Safe to repeat."""
    await prepare_own_database(config.database, MIGRATIONS)
    wanted = [topic for topic in topics.ALL if topic.name.removesuffix(".dlq") in _TOPICS]
    await ensure_topics(config.kafka.bootstrap_servers, wanted, replication_factor=config.kafka.replication_factor)
