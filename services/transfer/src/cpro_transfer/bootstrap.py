"""Builds and wires the service. The only place that reads its configuration."""

import asyncio
import os
import socket
from contextlib import AsyncExitStack
from datetime import timedelta
from enum import Flag, auto
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from cpro_contracts import topics
from cpro_platform.auth import Authenticator
from cpro_platform.clock import Clock, SystemClock
from cpro_platform.concurrency import let_finish
from cpro_platform.consuming import Consumer
from cpro_platform.database import Database, prepare_own_database
from cpro_platform.dead_letters import DeadLetters
from cpro_platform.idempotency import KeptAnswers
from cpro_platform.kafka import EventPublisher, ensure_topics
from cpro_platform.metrics import Metrics
from cpro_platform.object_store import ObjectStore
from cpro_platform.outbox import Relay
from cpro_platform.process import Background
from cpro_platform.readiness import Readiness
from cpro_platform.retry import backoff, regularly
from cpro_platform.transience import is_transient
from cpro_tenant_db import privileges
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Directory, TenantState
from cpro_tenant_db.provisioning import schema_version
from cpro_tenant_db.retention import Kept
from cpro_tenant_db.roles import ServiceLogins
from cpro_tenant_db.tenant_outbox import TenantOutbox
from cpro_transfer.adapters.audit_trail import AuditTrail
from cpro_transfer.adapters.authorisations import PostgresAuthorisations
from cpro_transfer.adapters.authorised_pupils import TenantAuthorisedPupils, TenantsInUse
from cpro_transfer.adapters.consumer_groups import ConsumerGroups
from cpro_transfer.adapters.dead_letters import PostgresLetters
from cpro_transfer.adapters.event_logs import TenantEventLogs
from cpro_transfer.adapters.event_replays import PostgresReplays
from cpro_transfer.adapters.former_pupils import FormerPupils
from cpro_transfer.adapters.known_facts import PostgresKnownFacts
from cpro_transfer.adapters.ledger import PostgresLedger
from cpro_transfer.adapters.letter_topics import LetterReader, SourceTopics
from cpro_transfer.adapters.measures import LandingTimes, RetentionMeasures, SweepMeasures, TransferGauges
from cpro_transfer.adapters.objects import RecordObjects
from cpro_transfer.adapters.outlook import TransferOutlook
from cpro_transfer.adapters.projection import PostgresFacts, PreparedFact, Projection
from cpro_transfer.adapters.queries import TransferQueries
from cpro_transfer.adapters.retention import TenantRetention, TransferRetention
from cpro_transfer.adapters.statistics import TransferStatistics
from cpro_transfer.adapters.subject_ledger import PostgresSubjectLedger
from cpro_transfer.adapters.subject_tenants import TenantSubjects
from cpro_transfer.adapters.support_desk import PostgresSupportDesk
from cpro_transfer.adapters.sweep_facts import StoredRecordFiles, TenantFileFacts, TransferStandings
from cpro_transfer.adapters.tenant_pupils import TenantPupils
from cpro_transfer.adapters.tenant_records import TenantRecords
from cpro_transfer.adapters.tenant_truth import TenantDatabases
from cpro_transfer.adapters.undo_truth import TenantUndoTruth
from cpro_transfer.adapters.wake_ups import DueTransfers
from cpro_transfer.config import Config
from cpro_transfer.domain.sweeping import Ages
from cpro_transfer.handlers.authorising import Authoriser
from cpro_transfer.handlers.dead_letters import LetterDesk
from cpro_transfer.handlers.joining import PreparedEvent, on_events, prepare_event
from cpro_transfer.handlers.moving import Mover
from cpro_transfer.handlers.reconciling import Reconciler
from cpro_transfer.handlers.replaying import Replayer
from cpro_transfer.handlers.replaying_events import EventReplayer, ReplayDesk
from cpro_transfer.handlers.retaining import Forgotten, forget
from cpro_transfer.handlers.subject_access import SubjectAccess
from cpro_transfer.handlers.supporting import Support
from cpro_transfer.handlers.sweeping import Sweeper

MIGRATIONS = Path(__file__).parent / "migrations"
NAME = "cpro-transfer"
_PRIVACY_CONNECTIONS = 4
_DAY_SECONDS = 24 * 3600
_LONGEST_PUBLICATION = 60.0
"""Seconds. What sleeps for longer while it publishes keeps no other relay waiting."""
_TOPICS = (topics.PUPIL, topics.ESTABLISHMENT, topics.TRANSFER)


class Work(Flag):
    """What a process does besides answering: each can be a process of its own, any number of times."""

    NOTHING = 0
    JOIN = auto()
    MOVE = auto()
    RELAY = auto()
    SWEEP = auto()
    RETAIN = auto()
    ALL = JOIN | MOVE | RELAY
    """What transfers need. The sweep reads the whole store, and retention every school: they are started on purpose."""


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
        self._worker = f"{socket.gethostname()}/{os.getpid()}"
        self._log = structlog.get_logger()
        self._opened = AsyncExitStack()
        self._build()

    def _build(self) -> None:
        config = self.config
        self._database = Database(
            config.database.conninfo,
            name=NAME,
            max_connections=config.database.max_connections,
            idle_in_transaction_seconds=config.idle_in_transaction_seconds,
        )
        # A relay is idle in its transaction while it waits for Kafka.
        self._outbox_database = Database(
            config.database.conninfo, name=NAME, max_connections=2, idle_in_transaction_seconds=_LONGEST_PUBLICATION
        )
        logins = ServiceLogins.of(privileges.Service.TRANSFER, config.tenants)
        self._directory_database = Database(
            logins.to_directory(config.tenants.directory_conninfo), name=NAME, max_connections=4
        )
        self._publisher = EventPublisher(config.kafka.bootstrap_servers, client_id=NAME, metrics=self.metrics)
        self._store = ObjectStore(config.object_store)
        self.directory = Directory(self._directory_database)
        self._tenants = self._tenants_as(privileges.Service.TRANSFER, config.tenants.max_open_connections)
        # No mover and no request but support's on an erasure has connections that may delete a pupil or a receipt.
        self._privacy_tenants = self._tenants_as(privileges.Service.PRIVACY, _PRIVACY_CONNECTIONS)
        self._projection = Projection(settling_seconds=config.settling_seconds)
        self._bell = DueTransfers(self._database, poll_seconds=config.poll_seconds)
        self.queries = TransferQueries(self._database)
        self.outlook = TransferOutlook(self._database, self.clock)
        self.pupils = TenantPupils(self._tenants)
        self.statistics = TransferStatistics(self._database, self.clock)
        self._tenant_outbox = TenantOutbox(
            self._database,
            self._tenants,
            self._publisher,
            kept=config.tenants.event_log_kept,
            metrics=self.metrics,
        )
        self._privacy_outbox = TenantOutbox(
            self._database,
            self._privacy_tenants,
            self._publisher,
            kept=config.tenants.event_log_kept,
            metrics=self.metrics,
        )
        self.reconciler = Reconciler(
            PostgresKnownFacts(self._database, self._projection, self.clock),
            TenantDatabases(self._tenants, self._tenant_outbox, grace_seconds=config.on_their_way_seconds),
        )
        self._build_authorisations()
        self.letters = PostgresLetters(self._database, self.clock)
        self.letter_desk = LetterDesk(self.letters, SourceTopics(config.kafka.bootstrap_servers, self._publisher))
        self.consumer_groups = ConsumerGroups(config.kafka.bootstrap_servers)
        self.event_replays = PostgresReplays(self._database)
        self.replay_desk = ReplayDesk(
            self.event_replays,
            self.clock,
            self._uais_in_use,
            longest=config.tenants.event_log_kept,
            highest_rate=config.replay_events_per_second,
        )
        self.audit = AuditTrail(self._database)
        self.kept_answers = KeptAnswers(self._database, self.clock)
        self.desk = PostgresSupportDesk(self._database, self.clock)
        self.support = Support(
            self.desk, TenantUndoTruth(self._tenants), self.clock, undo_within=timedelta(days=config.undo_within_days)
        )
        self.subjects = SubjectAccess(
            PostgresSubjectLedger(self._database, self.clock), TenantSubjects(self._privacy_tenants, self._store)
        )
        self._landing_times = LandingTimes(self.metrics)
        self._gauges = TransferGauges(
            self._database, self.statistics, self.metrics, refresh_seconds=config.statistics_seconds
        )
        self._sweep_measures = SweepMeasures(self.metrics)
        self._retention_measures = RetentionMeasures(self.metrics)
        self._database.measure(self.metrics, f"{NAME}/service")
        self._outbox_database.measure(self.metrics, f"{NAME}/outbox")
        self._directory_database.measure(self.metrics, f"{NAME}/directory")
        self._tenants.measure(self.metrics)
        self.readiness.add_probe("database", self._database.ping)
        self.readiness.add_probe("tenant-directory", self._directory_database.ping)

    def _build_authorisations(self) -> None:
        days = self.config.authorisation_days
        authorised = TenantAuthorisedPupils(self._tenants, self._tenant_outbox, self.clock)
        self.former_pupils = FormerPupils(self._tenants)
        self.authorisations = PostgresAuthorisations(self._database, self.clock, lifetime_days=days)
        self.authoriser = Authoriser(
            self.authorisations, authorised, self.queries, TenantsInUse(self.directory), self.clock, days
        )
        self.replayer = Replayer(self.authorisations, authorised, self.clock)

    def _tenants_as(self, service: privileges.Service, max_open: int) -> TenantConnections:
        tenants = self.config.tenants
        return TenantConnections(
            self.directory,
            tenants.cluster_conninfos,
            application_name=NAME,
            logins=ServiceLogins.of(service, tenants),
            max_open=max_open,
            idle_seconds=tenants.idle_seconds,
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for database in (self._database, self._outbox_database, self._directory_database):
                await database.open()
                opening.push_async_callback(database.close)
            opening.push_async_callback(self._store.close)
            opening.push_async_callback(self._tenants.close)
            opening.push_async_callback(self._privacy_tenants.close)
            opening.push_async_callback(self._publisher.stop)
            opening.push_async_callback(self.background.stop)
            self._start_work()
            self._opened = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    def mover(self) -> Mover:
        """A mover of its own: any number may work side by side."""
        lease = timedelta(seconds=self.config.lease_seconds)
        return Mover(
            PostgresLedger(
                self._database,
                self._projection,
                self.clock,
                worker=self._worker,
                lease=lease,
                on_landing=self._landing_times,
            ),
            TenantRecords(
                self._tenants,
                schema_version=schema_version(),
                idle_in_transaction_seconds=self.config.idle_in_transaction_seconds,
            ),
            RecordObjects(self._store),
            batch_size=self.config.batch_pupils,
            renew_seconds=self.config.lease_seconds / 3,
        )

    def event_replayer(self) -> EventReplayer:
        """Carries out replays of event logs: any number may work side by side."""
        return EventReplayer(
            self.event_replays,
            TenantEventLogs(self._tenants, self._publisher),
            poll_seconds=self.config.replay_poll_seconds,
        )

    async def _uais_in_use(self) -> list[str]:
        tenants = await self.directory.all_tenants()
        return [tenant.uai for tenant in tenants if tenant.state is not TenantState.CREATING]

    async def forget(self, *, dry_run: bool) -> Forgotten:
        """Let go of all that is kept long enough: the daily job."""
        config = self.config
        kept = Kept(
            receipts=timedelta(days=config.receipts_kept_days),
            stubs=timedelta(days=config.stubs_kept_days),
            details=timedelta(days=config.import_details_kept_days),
        )
        own = {
            "authorisations": timedelta(days=config.authorisations_kept_days),
            "enrolments": timedelta(days=config.stubs_kept_days),
            "audit": timedelta(days=config.audit_kept_days),
        }
        if not dry_run:
            await self.kept_answers.forget_expired()
        return await forget(
            TenantRetention(self.directory, self._privacy_tenants, self._privacy_outbox, self.clock, kept),
            TransferRetention(self._database, self.clock, own),
            dry_run=dry_run,
        )

    def sweeper(self) -> Sweeper:
        """A sweeper of the store."""
        config = self.config
        return Sweeper(
            StoredRecordFiles(self._store),
            TenantFileFacts(self._tenants),
            TransferStandings(self._database),
            self.clock,
            Ages(
                copies=timedelta(hours=config.sweep_copy_age_hours),
                unclaimed=timedelta(hours=config.sweep_unclaimed_age_hours),
                max_unclaimed_percent=config.sweep_max_unclaimed_percent,
            ),
        )

    def _start_work(self) -> None:
        if Work.RELAY in self._work:
            self.background.start(
                "relay",
                Relay(
                    self._outbox_database,
                    self._publisher,
                    self.readiness,
                    kept=self.config.tenants.event_log_kept,
                    metrics=self.metrics,
                ).run,
            )
            self.background.start("statistics", self._gauges.run)
            self.background.start("leftovers", self._tenant_outbox.look_after_leftovers)
            letter_reader = LetterReader(self.config.kafka.bootstrap_servers, self.letters, self.clock)
            self.background.start("dead-letters", letter_reader.run)
            self.background.start("event-replays", self.event_replayer().run)
        if Work.JOIN in self._work:
            self.background.start("join", self._join().run)
        if Work.MOVE in self._work:
            self.background.start("wake-ups", self._bell.listen)
            for number in range(self.config.concurrent_batches):
                self.background.start(f"mover-{number}", partial(self._move_on, self.mover()))
        if Work.RETAIN in self._work:
            self.background.start("retention", self._retain_on)
        if Work.SWEEP in self._work:
            self.background.start("sweep", self._sweep_on)

    def _join(self) -> Consumer[PreparedEvent[PreparedFact]]:
        facts = PostgresFacts(self._database, self._projection, self.clock)
        return Consumer(
            self.config.kafka.bootstrap_servers,
            group=self.config.join_group,
            topics=[topics.PUPIL, topics.ESTABLISHMENT],
            prepare=partial(prepare_event, facts=facts),
            handle=partial(on_events, facts=facts),
            dead_letters=DeadLetters(self._publisher, group=self.config.join_group, clock=self.clock),
            batch_size=self.config.join_batch_messages,
            readiness=self.readiness,
            metrics=self.metrics,
            session_timeout_seconds=self.config.consumer_session_seconds,
        )

    async def _move_on(self, mover: Mover) -> None:
        """Move what is due until cancelled. Waits out a transfer database that is away."""
        delays = backoff(longest_seconds=10)
        while True:
            try:
                claimed = await let_finish(mover.move_next(), grace_seconds=self.config.stop_grace_seconds)
            except Exception as error:
                if not is_transient(error):
                    raise
                self.readiness.not_ready("mover", type(error).__name__)
                self._log.warning("mover.waiting", error=type(error).__name__)
                await asyncio.sleep(next(delays))
                continue
            self.readiness.ready("mover")
            delays = backoff(longest_seconds=10)
            if not claimed:
                await self._bell.wait()

    async def _retain_on(self) -> None:
        """Let go of what is due at the start and then daily, until cancelled. What is away is done the next time."""

        async def retain() -> None:
            self._retention_measures(await self.forget(dry_run=False), self.clock.now())

        await regularly(retain, _DAY_SECONDS, log=self._log, waiting="retention.waiting")

    async def _sweep_on(self) -> None:
        """Sweep at the start and then at each interval, until cancelled. What is away is waited for."""
        sweeper = self.sweeper()

        async def sweep() -> None:
            self._sweep_measures(await sweeper.sweep(), self.clock.now())

        await regularly(sweep, self.config.sweep_interval_hours * 3600, log=self._log, waiting="sweep.waiting")


async def prepare(config: Config) -> None:
    """Create the service's database, topics and bucket where absent, and bring the schema to the newest.

    Safe to repeat.
    """
    await prepare_own_database(config.database, MIGRATIONS, append_only=["audit_entry"])
    # The dead letters of all services are read here.
    wanted = [topic for topic in topics.ALL if topic.name in _TOPICS or topic.name.endswith(".dlq")]
    await ensure_topics(config.kafka.bootstrap_servers, wanted, replication_factor=config.kafka.replication_factor)
    store = ObjectStore(config.object_store)
    try:
        await store.ensure_bucket()
    finally:
        await store.close()
