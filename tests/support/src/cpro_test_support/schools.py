"""Establishments for tests of the join and the move: what an import or an opt-in would do to a tenant, in one line."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict

from cpro_contracts.envelope import Event
from cpro_contracts.establishments import EstablishmentUpdated, RosterSource, TransferOptInChanged
from cpro_contracts.identifiers import IneStatus, MatchSecret, match_key_of_ine, match_key_of_pupil
from cpro_contracts.pupils import EnrolmentSource, PupilCreated, PupilDeactivated, PupilReactivated, PupilWithdrawn
from cpro_embedded.endpoints import Endpoints
from cpro_platform import outbox
from cpro_platform.clock import SystemClock
from cpro_platform.config import ObjectStoreSettings, TenantSettings
from cpro_platform.database import Connection, Database, create_database, database_conninfo
from cpro_platform.kafka import EventPublisher
from cpro_platform.object_store import ObjectStore
from cpro_tenant_db import provisioning
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import MIGRATIONS as DIRECTORY_MIGRATIONS
from cpro_tenant_db.directory import Directory
from cpro_test_support.records import Amounts, Seeded, Verdict, seed_records, verify
from cpro_test_support.roles import ACCESS
from cpro_test_support.shelf import SHELF, Kind

SECRET = MatchSecret(version=1, key=b"a secret for tests, of thirty-two")
BUCKET = "cpro-records"
TENANT = Kind("tenant", provisioning.MIGRATIONS)
DIRECTORY = Kind("directory", DIRECTORY_MIGRATIONS)


@dataclass(slots=True)
class Schools:
    """Several establishments over the clusters, their store, and what was seeded in them."""

    endpoints: Endpoints
    directory: Directory
    directory_url: str
    tenants: TenantConnections
    publisher: EventPublisher
    store: ObjectStore
    seeded: Seeded = field(default_factory=Seeded)
    known: dict[str, "School"] = field(default_factory=dict)
    borrowed: list[tuple[str, str]] = field(default_factory=list)
    """Databases from the shelf, to be given back: cluster and connection string."""

    async def create(self, *uais: str) -> list["School"]:
        """Establishments with a database each, spread over the clusters."""
        created = []
        clusters = list(self.endpoints.postgres_clusters)
        for uai in uais:
            cluster = clusters[len(self.known) % len(clusters)]
            await self._provision(uai, cluster)
            self.known[uai] = School(self, uai)
            created.append(self.known[uai])
        return created

    async def _provision(self, uai: str, cluster: str) -> None:
        """As `cpro-tenants create` does, in a database that may have been another test's."""
        clusters = self.endpoints.postgres_clusters
        conninfo = await SHELF.take(clusters[cluster], TENANT)
        self.borrowed.append((clusters[cluster], conninfo))
        tenant = await self.directory.announce(uai, cluster, str(conninfo_to_dict(conninfo)["dbname"]))
        await provisioning.migrate_tenant(self.directory, clusters, tenant, ACCESS)

    async def opted_in(self, *uais: str) -> list["School"]:
        """The same, with their doors open."""
        created = await self.create(*uais)
        for school in created:
            await school.opts_in()
        return created

    async def conninfos(self) -> dict[str, str]:
        """Where each establishment's database is."""
        found = {}
        for uai in self.known:
            tenant = await self.directory.find(uai)
            assert tenant is not None
            found[uai] = database_conninfo(self.endpoints.postgres_clusters[tenant.cluster], tenant.database)
        return found

    async def verify(self) -> Verdict:
        """Compare all databases and the store with what was seeded."""
        return await verify(self.seeded, await self.conninfos(), self.store)


@dataclass(slots=True)
class School:
    """One establishment. Every verb is one transaction in its database, and the events that follow."""

    world: Schools
    uai: str
    publishes: bool = True

    async def opts_in(self) -> None:
        """Switch transfers on."""
        await self._switch(enabled=True)

    async def opts_out(self) -> None:
        """Switch transfers off."""
        await self._switch(enabled=False)

    async def has(
        self,
        ine: str | None,
        *,
        family_name: str = "MARTIN",
        first_name: str = "Camille",
        born: date = date(2009, 4, 12),
        records: Amounts | None = None,
        ine_status: IneStatus | None = None,
    ) -> UUID:
        """A pupil present by a national file; with records if asked. Returns the pupil's id here."""
        pupil_id = uuid4()
        status = ine_status or (IneStatus.TRUSTED if ine else IneStatus.ABSENT)
        key = _match_key(self.uai, pupil_id, ine, status)
        async with self.world.tenants.begin(self.uai) as tx:
            revision = await _next_revision(tx)
            await tx.execute(
                "INSERT INTO pupil (id, ine, ine_status, family_name, first_name, birth_date, source, match_key,"
                " revision, last_import_id) VALUES (%s, %s, %s, %s, %s, %s, 'siecle', %s, %s, %s)",
                (pupil_id, ine, status, family_name, first_name, born, key, revision, uuid4()),
            )
            await self._say(tx, PupilCreated, pupil_id, key, revision, status)
            if records:
                await seed_records(
                    tx, self.world.store, self.uai, pupil_id, amounts=records, into=self.world.seeded
                )  # fmt: skip
        await self.publish()
        return pupil_id

    async def loses(self, pupil_id: UUID) -> None:
        """The pupil has left, says the national file."""
        await self._change(pupil_id, PupilDeactivated, "active = false")

    async def has_again(self, pupil_id: UUID) -> None:
        """The pupil is back."""
        await self._change(pupil_id, PupilReactivated, "active = true")

    async def corrects_ine(self, pupil_id: UUID, ine: str) -> None:
        """The pupil's INE was wrong."""
        new_key = match_key_of_ine(ine, SECRET)
        async with self.world.tenants.begin(self.uai) as tx:
            row = await _pupil(tx, pupil_id)
            withdrawn, created = await _next_revision(tx), await _next_revision(tx)
            await tx.execute(
                "UPDATE pupil SET ine = %s, match_key = %s, revision = %s WHERE id = %s",
                (ine, new_key, created, pupil_id),
            )
            await self._say(tx, PupilWithdrawn, pupil_id, row["match_key"], withdrawn, IneStatus.TRUSTED)
            await self._say(tx, PupilCreated, pupil_id, new_key, created, IneStatus.TRUSTED)
        await self.publish()

    async def publish(self) -> None:
        """Put what waits in the outbox on Kafka, unless this school is told to keep it."""
        if self.publishes:
            await outbox.publish_pending(lambda: self.world.tenants.begin(self.uai), self.world.publisher)

    async def fetch(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Rows of this establishment's database."""
        async with self.world.tenants.begin(self.uai) as tx:
            return await (await tx.execute(query, arguments)).fetchall()

    async def execute(self, statement: str, *arguments: object) -> None:
        """Change something in this establishment's database, as the core application would."""
        async with self.world.tenants.begin(self.uai) as tx:
            await tx.execute(statement, arguments)

    async def _switch(self, *, enabled: bool) -> None:
        async with self.world.tenants.begin(self.uai) as tx:
            revision = await _next_revision(tx)
            await tx.execute(
                "UPDATE transfer_opt_in SET enabled = %s, revision = %s, changed_at = now(), changed_by = 'test'",
                (enabled, revision),
            )
            changed = TransferOptInChanged(
                uai=self.uai,
                enabled=enabled,
                roster_source=RosterSource.SIECLE,
                revision=revision,
                occurred_at=datetime.now(UTC),
            )
            await _add(tx, [changed])
        await self.publish()

    async def named(self, name: str, revision: int = 1) -> None:
        """Save the sheet with this name."""
        async with self.world.tenants.begin(self.uai) as tx:
            await _add(
                tx,
                [EstablishmentUpdated(uai=self.uai, name=name, revision=revision, occurred_at=datetime.now(UTC))],
            )
        await self.publish()

    async def _change(self, pupil_id: UUID, event: type[Any], assignment: str) -> None:
        async with self.world.tenants.begin(self.uai) as tx:
            row = await _pupil(tx, pupil_id)
            revision = await _next_revision(tx)
            await tx.execute(
                f"UPDATE pupil SET {assignment}, revision = %s, state_changed_at = now() WHERE id = %s",
                (revision, pupil_id),
            )
            await self._say(tx, event, pupil_id, row["match_key"], revision, IneStatus(row["ine_status"]))
        await self.publish()

    async def _say(
        self, tx: Connection, event: type[Any], pupil_id: UUID, key: str, revision: int, status: IneStatus
    ) -> None:
        said = event(
            match_key=key,
            uai=self.uai,
            pupil_id=pupil_id,
            revision=revision,
            occurred_at=datetime.now(UTC),
            source=EnrolmentSource.SIECLE,
            ine_status=status,
        )
        await _add(tx, [said])


@asynccontextmanager
async def opened_schools(endpoints: Endpoints) -> AsyncIterator[Schools]:
    """A directory of its own, connections, a store and a publisher, closed at the end."""
    first = next(iter(endpoints.postgres_clusters.values()))
    directory_url = await SHELF.take(first, DIRECTORY)
    await provisioning.prepare_directory(directory_url, ACCESS)
    async with _opened(endpoints, directory_url) as schools:
        yield schools
    for cluster, conninfo in schools.borrowed:
        await SHELF.give_back(cluster, TENANT, conninfo)
    await SHELF.give_back(first, DIRECTORY, directory_url)


@asynccontextmanager
async def opened_on(endpoints: Endpoints, tenants: TenantSettings) -> AsyncIterator[Schools]:
    """The same on a directory that is there."""
    async with _opened(endpoints, tenants.directory_conninfo) as schools:
        yield schools


@asynccontextmanager
async def _opened(endpoints: Endpoints, directory_url: str) -> AsyncIterator[Schools]:
    async with AsyncExitStack() as opening:
        database = Database(directory_url, name="test-directory", max_connections=4)
        await database.open()
        opening.push_async_callback(database.close)
        directory = Directory(database)
        tenants = TenantConnections(directory, endpoints.postgres_clusters, application_name="tests")
        opening.push_async_callback(tenants.close)
        publisher = EventPublisher(endpoints.kafka_bootstrap, client_id="tests")
        opening.push_async_callback(publisher.stop)
        store = ObjectStore(store_settings(endpoints))
        opening.push_async_callback(store.close)
        await store.ensure_bucket()
        yield Schools(endpoints, directory, directory_url, tenants, publisher, store)


def store_settings(endpoints: Endpoints, bucket: str = BUCKET) -> ObjectStoreSettings:
    """The settings of a bucket on the running store."""
    return ObjectStoreSettings.model_validate(
        {
            "endpoint": endpoints.s3_endpoint,
            "access_key": endpoints.s3_access_key,
            "secret_key": endpoints.s3_secret_key,
            "secure": endpoints.s3_secure,
            "bucket": bucket,
        }
    )


async def fresh_database(endpoints: Endpoints, name: str) -> str:
    """A new empty database on the first cluster; returns its connection string."""
    first = next(iter(endpoints.postgres_clusters.values()))
    unique = f"{name}_{uuid4().hex[:8]}"
    await create_database(first, unique)
    return database_conninfo(first, unique)


def _match_key(uai: str, pupil_id: UUID, ine: str | None, status: IneStatus) -> str:
    if ine is None or status is not IneStatus.TRUSTED:
        return match_key_of_pupil(uai, pupil_id)
    return match_key_of_ine(ine, SECRET)


async def _next_revision(tx: Connection) -> int:
    row = await (await tx.execute("SELECT nextval('pupil_revision')")).fetchone()
    assert row is not None
    return int(row[0])


async def _pupil(tx: Connection, pupil_id: UUID) -> dict[str, Any]:
    cursor = tx.cursor(row_factory=psycopg.rows.dict_row)
    await cursor.execute("SELECT * FROM pupil WHERE id = %s FOR UPDATE", (pupil_id,))
    row = await cursor.fetchone()
    assert row is not None
    return row


async def _add(tx: Connection, events: Sequence[Event]) -> None:
    await outbox.add(tx, events, source="/tests", clock=SystemClock(), wake_relay=False)
