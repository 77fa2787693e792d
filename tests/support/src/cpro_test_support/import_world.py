"""The import service over the real servers, and schools that use it."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from aiokafka import AIOKafkaConsumer
from psycopg.rows import dict_row
from pydantic import SecretStr

from cpro_contracts import topics
from cpro_contracts.envelope import Envelope
from cpro_contracts.identifiers import match_key_of_ine, uai_key
from cpro_contracts.pupils import PupilEvent
from cpro_platform.clock import SystemClock
from cpro_platform.config import (
    KafkaSettings,
    ObjectStoreSettings,
    OidcSettings,
    TenantSettings,
)
from cpro_platform.database import database_conninfo
from cpro_siecle_import import handlers
from cpro_siecle_import.bootstrap import Service, prepare
from cpro_siecle_import.config import Config
from cpro_siecle_import.domain.export import school_year_of
from cpro_siecle_import.domain.jobs import Job, Mode
from cpro_tenant_db import directory, privileges, provisioning
from cpro_test_support.import_group import partition_of
from cpro_test_support.roles import ACCESS, own_database
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, siecle_xml, siecle_zip

YEAR = school_year_of(SystemClock().now().date())
# Two days ago in the morning, to the second: there is room for a day's worth of exports before the upload.
EXPORTED = (SystemClock().now() - timedelta(days=2)).replace(hour=9, minute=0, second=0, microsecond=0)
EXPORT_DAY = EXPORTED.date()
OVER = {"completed", "failed", "cancelled", "awaiting_confirmation"}
_numbers = count(1_750_000)


async def prepared_config(servers: Servers) -> Config:
    """A service database, a directory, a bucket and tenants of their own."""
    endpoints, run = servers.endpoints, uuid4().hex[:8]
    clusters = dict(endpoints.postgres_clusters)
    north = clusters["north"]
    directory_url = database_conninfo(north, f"cpro_directory_{run}")
    await provisioning.prepare_directory(directory_url, ACCESS)
    config = Config(
        database=own_database(database_conninfo(north, f"cpro_siecle_import_{run}")),
        tenants=TenantSettings(
            directory_url=SecretStr(directory_url),
            clusters={name: SecretStr(conninfo) for name, conninfo in clusters.items()},
            role_secret=ACCESS.secrets[privileges.Service.SIECLE_IMPORT],
        ),
        kafka=KafkaSettings(bootstrap_servers=endpoints.kafka_bootstrap),
        object_store=ObjectStoreSettings(
            endpoint=endpoints.s3_endpoint,
            access_key=SecretStr(endpoints.s3_access_key),
            secret_key=SecretStr(endpoints.s3_secret_key),
            secure=False,
            bucket=f"cpro-siecle-imports-{run}",
        ),
        oidc=OidcSettings(issuer=endpoints.oidc_issuer, audience=endpoints.oidc_audience),
        match_secret=SecretStr("a secret for tests, long enough to pass"),
        max_upload_bytes=2_000_000,
        consumer_group=f"cpro-siecle-import-{run}",
        consumer_session_seconds=6,
        progress_interval_seconds=0.05,
    )
    await prepare(config)
    return config


def new_school(
    config: Config, transport: httpx.AsyncBaseTransport, servers: Servers, *, among: Collection[int] | None = None
) -> "School":
    """A school that no test used before, its jobs `among` these partitions; enter it to set it up."""
    uais = (f"{number:07}{uai_key(number)}" for number in _numbers)
    uai = next(uai for uai in uais if among is None or partition_of(uai) in among)
    return School(uai, config, transport, servers)


@dataclass
class School:
    """One establishment, as its administrator uses the service and as its databases show it."""

    uai: str
    config: Config
    transport: httpx.AsyncBaseTransport
    servers: Servers
    exported_at: datetime = EXPORTED
    client: httpx.AsyncClient = field(init=False)

    async def __aenter__(self) -> "School":
        tenants = self.config.tenants
        async with directory.opened(tenants.directory_conninfo) as opened:
            tenant = await provisioning.create_tenant(opened, tenants.cluster_conninfos, self.uai, "south", ACCESS)
        self.conninfo = database_conninfo(tenants.cluster_conninfos[tenant.cluster], tenant.database)
        self.client = httpx.AsyncClient(
            transport=self.transport,
            base_url=f"http://test/v1/establishments/{self.uai}",
            headers={"Authorization": f"Bearer {self.servers.tokens.token('admin-1', ['administrator'], self.uai)}"},
            timeout=30,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    def file(self, pupils: list[SamplePupil], **options: Any) -> bytes:
        """This school's export, a minute newer than the one before."""
        self.exported_at += timedelta(minutes=1)
        settings: dict[str, Any] = {"exported_at": self.exported_at, "school_year": YEAR, **options}
        return siecle_zip(self.uai, pupils, **settings)

    def xml(self, pupils: list[SamplePupil], **options: Any) -> bytes:
        """The same, unpacked, with every switch of the generator."""
        self.exported_at += timedelta(minutes=1)
        settings: dict[str, Any] = {"exported_at": self.exported_at, "school_year": YEAR, **options}
        return siecle_xml(self.uai, pupils, **settings)

    async def upload(self, content: bytes, **query: Any) -> httpx.Response:
        return await self.client.post("/siecle-imports", content=content, params=query)

    async def imports(self, pupils: list[SamplePupil] | bytes, **query: Any) -> dict[str, Any]:
        """Upload and wait until the import is at rest."""
        content = pupils if isinstance(pupils, bytes) else self.file(pupils)
        answer = await self.upload(content, **query)
        assert answer.status_code == 202, answer.text
        return await self.rest(answer.json()["id"])

    async def rest(self, import_id: str) -> dict[str, Any]:
        """The import once it is at rest."""
        async with asyncio.timeout(30):
            while True:
                found = await self.read(import_id)
                if found["state"] in OVER:
                    return found
                await asyncio.sleep(0.03)

    async def job(self, import_id: str) -> dict[str, Any]:
        """The import as the service's own database has it."""
        async with (
            await psycopg.AsyncConnection.connect(self.config.database.conninfo, row_factory=dict_row) as connection,
            connection.cursor() as cursor,
        ):
            await cursor.execute("SELECT * FROM import_job WHERE id = %s", (import_id,))
            row = await cursor.fetchone()
            assert row is not None
            return row

    @asynccontextmanager
    async def holding(self, statement: str) -> AsyncIterator[None]:
        """A transaction in this school's database that holds a lock and does not end."""
        async with await psycopg.AsyncConnection.connect(self.conninfo) as connection:
            await connection.execute(statement.encode())
            yield
            await connection.rollback()

    async def read(self, import_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/siecle-imports/{import_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        answer = await self.client.get(f"/siecle-imports/{path}", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    async def rows(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        """Ask this school's database."""
        async with (
            await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True, row_factory=dict_row) as connection,
            connection.cursor() as cursor,
        ):
            await cursor.execute(statement.encode(), parameters)
            return await cursor.fetchall() if cursor.description else []

    async def pupils(self) -> dict[str, dict[str, Any]]:
        """Every pupil by ELEVE_ID."""
        return {row["siecle_id"]: row for row in await self.rows("SELECT * FROM pupil ORDER BY created_at, id")}

    async def active(self) -> set[str]:
        return {siecle_id for siecle_id, pupil in (await self.pupils()).items() if pupil["active"]}

    async def outbox(self) -> list[dict[str, Any]]:
        """Everything that was ever said of this school's pupils, in order."""
        return await self.rows("SELECT * FROM outbox ORDER BY position")

    async def said(self, since: int = 0) -> list[tuple[str, str]]:
        """(event, match key) of what was said after so many events."""
        return [(row["type"].split(".")[2], row["key"]) for row in (await self.outbox())[since:]]

    def key(self, ine: str | None) -> str:
        """The match key of an INE."""
        return match_key_of_ine(ine or "", self.config.secret)


def environment_of(config: Config) -> dict[str, str]:
    """The settings of a process."""
    values = {
        "DATABASE__URL": config.database.conninfo,
        "TENANTS__DIRECTORY_URL": config.tenants.directory_conninfo,
        "TENANTS__ROLE_SECRET": ACCESS.secrets[privileges.Service.SIECLE_IMPORT].get_secret_value(),
        "TENANTS__CLUSTERS": json.dumps(config.tenants.cluster_conninfos),
        "KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
        "OBJECT_STORE__ENDPOINT": config.object_store.endpoint,
        "OBJECT_STORE__ACCESS_KEY": config.object_store.access_key.get_secret_value(),
        "OBJECT_STORE__SECRET_KEY": config.object_store.secret_key.get_secret_value(),
        "OBJECT_STORE__SECURE": "false",
        "OBJECT_STORE__BUCKET": config.object_store.bucket,
        "OIDC__ISSUER": config.oidc.issuer,
        "OIDC__AUDIENCE": config.oidc.audience,
        "MATCH_SECRET": config.match_secret.get_secret_value(),
        "CONSUMER_GROUP": config.consumer_group,
        "CONSUMER_SESSION_SECONDS": str(config.consumer_session_seconds),
        "CONSUMER_MAX_POLL_SECONDS": str(config.consumer_max_poll_seconds),
        "ASK_AGAIN_SECONDS": str(config.ask_again_seconds),
        "MAX_ATTEMPTS": str(config.max_attempts),
    }
    return {f"CPRO_SIECLE_IMPORT_{name}": value for name, value in values.items()}


async def stored_upload(service: Service, uai: str, path: Path) -> Job:
    """A file as the upload handler leaves it: in the store, with its job in line. The request leaves with the relay."""

    async def chunks() -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                yield chunk

    async with handlers.received(
        uai, chunks(), establishments=service.establishments, uploads=service.uploads
    ) as file:  # fmt: skip
        return await handlers.request_import(
            uai, file, mode=Mode.APPLY, force=True, by="benchmark", jobs=service.jobs, clock=service.clock
        )


async def pupil_events(servers: Servers, uai: str, number: int) -> list[PupilEvent]:
    """What was published of a school's pupils, once it is so many events."""
    consumer = AIOKafkaConsumer(
        topics.PUPIL, bootstrap_servers=servers.endpoints.kafka_bootstrap, auto_offset_reset="earliest"
    )
    found: list[PupilEvent] = []
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            while len(found) < number:
                for records in (await consumer.getmany(timeout_ms=300)).values():
                    events = [Envelope.read(record.headers, record.value).event for record in records]
                    found += [event for event in events if isinstance(event, PupilEvent) and event.uai == uai]
    finally:
        await consumer.stop()
    return found
