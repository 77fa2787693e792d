"""Builds and wires the service. The only place that reads its configuration."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict

from cpro_contracts import topics
from cpro_platform import migrations
from cpro_platform.auth import Authenticator
from cpro_platform.clock import Clock, SystemClock
from cpro_platform.database import Database, create_database
from cpro_platform.kafka import EventPublisher, ensure_topics
from cpro_platform.metrics import Metrics
from cpro_platform.outbox import Relay
from cpro_platform.process import Background
from cpro_platform.readiness import Readiness
from cpro_settings.adapters.postgres import PostgresSheets
from cpro_settings.adapters.tenants import DirectoryEstablishments, TenantOptIns
from cpro_settings.config import Config
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Directory
from cpro_tenant_db.tenant_outbox import TenantOutbox

MIGRATIONS = Path(__file__).parent / "migrations"
NAME = "cpro-settings"


class Service:
    """The service, wired. An async context manager that opens its connections and closes them.

    With `background` it also publishes its outbox and what was left in the tenants' outboxes, as `cpro-settings relay`
    does; an installation runs that beside any number of API processes.
    """

    def __init__(
        self, config: Config, *, clock: Clock | None = None, metrics: Metrics | None = None, background: bool = True
    ) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.metrics = metrics or Metrics()
        self.readiness = Readiness()
        self.authenticator = Authenticator(config.oidc, self.clock)
        self.background = Background(self.readiness)
        self._runs_background = background
        self._opened = AsyncExitStack()
        self._build()

    def _build(self) -> None:
        config = self.config
        self._database = Database(config.database.conninfo, name=NAME, max_connections=config.database.max_connections)
        self._directory_database = Database(config.tenants.directory_conninfo, name=NAME, max_connections=4)
        self._publisher = EventPublisher(config.kafka.bootstrap_servers, client_id=NAME)
        directory = Directory(self._directory_database)
        self._tenants = TenantConnections(
            directory,
            config.tenants.cluster_conninfos,
            application_name=NAME,
            max_open=config.tenants.max_open_connections,
            idle_seconds=config.tenants.idle_seconds,
        )
        self._tenant_outbox = TenantOutbox(
            self._database, self._tenants, self._publisher, kept=config.tenants.event_log_kept
        )
        self.establishments = DirectoryEstablishments(directory)
        self.sheets = PostgresSheets(self._database, self.clock)
        self.opt_ins = TenantOptIns(self._tenants, self._tenant_outbox, self.clock)
        self.readiness.add_probe("database", self._database.ping)
        self.readiness.add_probe("tenant-directory", self._directory_database.ping)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for database in (self._database, self._directory_database):
                await database.open()
                opening.push_async_callback(database.close)
            opening.push_async_callback(self._tenants.close)
            opening.push_async_callback(self._publisher.stop)
            if self._runs_background:
                opening.push_async_callback(self.background.stop)
                relay = Relay(self._database, self._publisher, self.readiness, kept=self.config.tenants.event_log_kept)
                self.background.start("relay", relay.run)
                self.background.start("leftovers", self._tenant_outbox.look_after_leftovers)
            self._opened = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()


async def prepare(config: Config) -> None:
    """Create the service's database and topic where absent, and bring the schema to the newest. Safe to repeat."""
    await create_database(config.database.conninfo, str(conninfo_to_dict(config.database.conninfo)["dbname"]))
    await asyncio.to_thread(migrations.upgrade, config.database.conninfo, MIGRATIONS)
    wanted = [topic for topic in topics.ALL if topic.name == topics.ESTABLISHMENT]
    await ensure_topics(config.kafka.bootstrap_servers, wanted, replication_factor=config.kafka.replication_factor)
