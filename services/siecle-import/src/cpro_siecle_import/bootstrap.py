"""Builds and wires the service. The only place that reads its configuration."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import timedelta
from enum import Flag, auto
from pathlib import Path
from types import TracebackType
from typing import Self

from cpro_contracts import topics
from cpro_platform.auth import Authenticator
from cpro_platform.clock import Clock, SystemClock
from cpro_platform.database import Database, prepare_own_database
from cpro_platform.idempotency import KeptAnswers
from cpro_platform.kafka import EventPublisher, ensure_topics
from cpro_platform.logs import get_logger
from cpro_platform.metrics import Metrics
from cpro_platform.object_store import ObjectStore
from cpro_platform.outbox import Relay
from cpro_platform.process import Background
from cpro_platform.readiness import Readiness
from cpro_platform.retry import regularly
from cpro_siecle_import import handlers
from cpro_siecle_import.adapters.exports import StoredExports
from cpro_siecle_import.adapters.kafka import import_worker
from cpro_siecle_import.adapters.match_keys import TenantMatchKeys
from cpro_siecle_import.adapters.measures import MeasuredJobs, TenantFindingCounts
from cpro_siecle_import.adapters.packaging import ExpansionLimits
from cpro_siecle_import.adapters.postgres import PostgresJobs
from cpro_siecle_import.adapters.postponing import PostponingRosters
from cpro_siecle_import.adapters.roster import DirectoryEstablishments, TenantRosters
from cpro_siecle_import.adapters.uploads import S3Uploads
from cpro_siecle_import.config import Config
from cpro_siecle_import.domain.guard import GuardLimits
from cpro_siecle_import.domain.retention import Retention
from cpro_siecle_import.handlers import ImportRules
from cpro_siecle_import.ports import Rekeyed
from cpro_tenant_db import privileges
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Directory
from cpro_tenant_db.roles import ServiceLogins
from cpro_tenant_db.tenant_outbox import TenantOutbox

MIGRATIONS = Path(__file__).parent / "migrations"
NAME = "cpro-siecle-import"
_log = get_logger(__name__)
_TOPICS = (topics.SIECLE_IMPORT_JOBS, topics.SIECLE_IMPORT, topics.PUPIL)


class Work(Flag):
    """What a process does besides answering: each can be a process of its own, any number of times."""

    NOTHING = 0
    IMPORT = auto()
    RELAY = auto()
    SWEEP = auto()
    ALL = IMPORT | RELAY | SWEEP


class Service:
    """The service, wired. An async context manager that opens its connections, works, and closes them."""

    def __init__(
        self, config: Config, *, clock: Clock | None = None, metrics: Metrics | None = None, work: Work = Work.ALL
    ) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.metrics = metrics or Metrics()
        self.readiness = Readiness()
        self.authenticator = Authenticator(config.oidc, self.clock)
        self.background = Background(self.readiness)
        self._work = work
        self._opened = AsyncExitStack()
        self._build()

    def _build(self) -> None:
        config = self.config
        self._database = Database(config.database.conninfo, name=NAME, max_connections=config.database.max_connections)
        logins = ServiceLogins.of(privileges.Service.SIECLE_IMPORT, config.tenants)
        self._directory_database = Database(
            logins.to_directory(config.tenants.directory_conninfo), name=NAME, max_connections=4
        )
        self._publisher = EventPublisher(config.kafka.bootstrap_servers, client_id=NAME, metrics=self.metrics)
        self._store = ObjectStore(config.object_store)
        directory = self._directory = Directory(self._directory_database)
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
        self.kept_answers = KeptAnswers(self._database, self.clock)
        self.jobs = PostgresJobs(
            self._database, self.clock, ask_again_after=timedelta(seconds=config.ask_again_seconds)
        )
        self.uploads = S3Uploads(self._store)
        self.exports = StoredExports(self.uploads, _expansion_limits(config), config.secret)
        self.rosters = TenantRosters(
            self._tenants,
            self._tenant_outbox,
            lock_timeout_seconds=config.lock_timeout_seconds,
        )
        self.followers = handlers.Followers(self.jobs, interval_seconds=config.progress_interval_seconds)
        self.retention = _retention(config)
        self.rules = ImportRules(_guard_limits(config), config.max_attempts)
        self._database.measure(self.metrics, f"{NAME}/service")
        self._directory_database.measure(self.metrics, f"{NAME}/directory")
        self._tenants.measure(self.metrics)
        self.readiness.add_probe("database", self._database.ping)
        self.readiness.add_probe("tenant-directory", self._directory_database.ping)
        self.readiness.add_probe("object-store", self._store.ping)
        self.readiness.at_the_end(self.followers.let_go)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for database in (self._database, self._directory_database):
                await database.open()
                opening.push_async_callback(database.close)
            opening.push_async_callback(self._store.close)
            opening.push_async_callback(self._tenants.close)
            opening.push_async_callback(self._publisher.stop)
            opening.push_async_callback(self.background.stop)
            opening.push_async_callback(self.followers.stop)
            self._start_work()
            self._opened = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    async def run_worker(self) -> None:
        """Import what is asked for until cancelled, and look after what dead workers left behind."""
        worker = import_worker(
            self.config.kafka.bootstrap_servers,
            group=self.config.consumer_group,
            publisher=self._publisher,
            session_timeout_seconds=self.config.consumer_session_seconds,
            max_poll_seconds=self.config.consumer_max_poll_seconds,
            jobs=MeasuredJobs(self.jobs, self.metrics, TenantFindingCounts(self._tenants)),
            rosters=PostponingRosters(self.rosters),
            exports=self.exports,
            clock=self.clock,
            rules=self.rules,
            readiness=self.readiness,
            metrics=self.metrics,
        )
        await worker.run()

    async def run_relay(self) -> None:
        """Publish this service's own outbox until cancelled."""
        await Relay(
            self._database,
            self._publisher,
            self.readiness,
            kept=self.config.tenants.event_log_kept,
            metrics=self.metrics,
        ).run()

    async def run_ask_again(self) -> None:
        """Ask again for imports that were put aside, until cancelled."""

        async def ask() -> None:
            asked = await self.jobs.ask_again(self.clock.now())
            if asked:
                _log.info("import.asked_again", imports=asked)

        await regularly(ask, self.config.ask_again_seconds / 4, log=_log, waiting="import.ask_again_waiting")

    async def run_sweep(self) -> None:
        """Let go of files until cancelled."""

        async def sweep() -> None:
            swept = await handlers.sweep(
                jobs=self.jobs, uploads=self.uploads, clock=self.clock, retention=self.retention
            )
            if swept:
                _log.info("upload.swept", **asdict(swept))
            await self.kept_answers.forget_expired()

        await regularly(sweep, self.config.sweep_interval_seconds, log=_log, waiting="upload.sweep_waiting")

    async def rotate_keys(self, *, dry_run: bool) -> AsyncIterator[Rekeyed]:
        """Make the match keys in all establishments anew with the secret of now: see `handlers.rotating`."""
        keys = TenantMatchKeys(self._tenants, self._tenant_outbox, self.config.secret, self.clock)
        uais = [tenant.uai for tenant in await self._directory.all_tenants()]
        async for rekeyed in handlers.rotate(uais, keys, dry_run=dry_run):
            yield rekeyed

    def _start_work(self) -> None:
        if Work.RELAY in self._work:
            self.background.start("relay", self.run_relay)
            self.background.start("leftovers", self._tenant_outbox.look_after_leftovers)
            self.background.start("ask-again", self.run_ask_again)
        if Work.IMPORT in self._work:
            self.background.start("worker", self.run_worker)
        if Work.SWEEP in self._work:
            self.background.start("sweep", self.run_sweep)


async def prepare(config: Config) -> None:
    """Create the service's database, topics and bucket where absent, and bring the schema to the newest.

    Safe to repeat.
    """
    await prepare_own_database(config.database, MIGRATIONS)
    wanted = [topic for topic in topics.ALL if topic.name.removesuffix(".dlq") in _TOPICS]
    await ensure_topics(config.kafka.bootstrap_servers, wanted, replication_factor=config.kafka.replication_factor)
    store = ObjectStore(config.object_store)
    try:
        await store.ensure_bucket()
    finally:
        await store.close()


def _expansion_limits(config: Config) -> ExpansionLimits:
    return ExpansionLimits(max_xml_bytes=config.max_xml_bytes, max_ratio=config.max_expansion_ratio)


def _retention(config: Config) -> Retention:
    return Retention(
        uploads=timedelta(days=config.uploads_kept_days),
        unclaimed=timedelta(seconds=config.unclaimed_uploads_kept_seconds),
    )


def _guard_limits(config: Config) -> GuardLimits:
    return GuardLimits(
        deactivated_share=config.guard_deactivated_share,
        first_import_deactivated_share=config.guard_first_import_deactivated_share,
        present_share=config.guard_present_share,
        at_least=config.guard_at_least_pupils,
    )
