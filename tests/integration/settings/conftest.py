"""The settings service on the real servers, with an establishment for each test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from asgi_lifespan import LifespanManager
from pydantic import SecretStr

from cpro_contracts import topics
from cpro_contracts.envelope import Envelope, Event
from cpro_contracts.identifiers import uai_key
from cpro_platform.config import KafkaSettings, OidcSettings, TenantSettings
from cpro_platform.database import database_conninfo
from cpro_settings.bootstrap import Service, prepare
from cpro_settings.config import Config
from cpro_settings.entrypoints.api import create
from cpro_tenant_db import directory, privileges, provisioning
from cpro_test_support.roles import ACCESS, own_database
from cpro_test_support.servers import Servers

_numbers = count(750_000)


@pytest.fixture(scope="session")
async def config(servers: Servers) -> Config:
    """A service database, a directory and tenants of this test run's own."""
    endpoints = servers.endpoints
    clusters = dict(endpoints.postgres_clusters)
    north = clusters["north"]
    directory_url = database_conninfo(north, f"cpro_directory_{uuid4().hex[:8]}")
    await provisioning.prepare_directory(directory_url, ACCESS)
    config = Config(
        database=own_database(database_conninfo(north, f"cpro_settings_{uuid4().hex[:8]}")),
        tenants=TenantSettings(
            directory_url=SecretStr(directory_url),
            clusters={name: SecretStr(conninfo) for name, conninfo in clusters.items()},
            role_secret=ACCESS.secrets[privileges.Service.SETTINGS],
        ),
        kafka=KafkaSettings(bootstrap_servers=endpoints.kafka_bootstrap),
        oidc=OidcSettings(issuer=endpoints.oidc_issuer, audience=endpoints.oidc_audience),
    )
    await prepare(config)
    return config


@pytest.fixture
async def school(config: Config) -> str:
    """The UAI of an establishment that was just set up."""
    return await new_school(config)


@pytest.fixture(scope="session")
async def pair(config: Config) -> tuple[str, str]:
    """The UAI of two establishments, for tests that have a settings database of their own."""
    return await new_school(config), await new_school(config)


async def new_school(config: Config) -> str:
    number = next(_numbers)
    uai = f"{number:07}{uai_key(number)}"
    tenants = config.tenants
    async with directory.opened(tenants.directory_conninfo) as opened:
        await provisioning.create_tenant(opened, tenants.cluster_conninfos, uai, "south", ACCESS)
    return uai


@pytest.fixture
async def service(config: Config) -> Service:
    return Service(config)


@pytest.fixture
async def client(service: Service, servers: Servers, school: str) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the API below the path of `school`, as its administrator."""
    app = create(service)
    url = f"http://test/v1/establishments/{school}"
    async with (
        LifespanManager(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url) as client,
    ):
        client.event_hooks["request"].append(_without_trailing_slash)
        client.headers["Authorization"] = f"Bearer {servers.tokens.token('admin-1', ['administrator'], school)}"
        yield client


@pytest.fixture
def header_of(servers: Servers) -> Callable[..., dict[str, str]]:
    """The header of a caller with these roles."""

    def header(*roles: str, uai: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {servers.tokens.token('someone', list(roles), uai)}"}

    return header


@pytest.fixture
def events_of(servers: Servers, school: str) -> Callable[[int], Awaitable[list[Event]]]:
    """Reads the topic of establishments until there are so many events of `school`, and no more follow at once."""

    async def read(number: int) -> list[Event]:
        consumer = AIOKafkaConsumer(
            topics.ESTABLISHMENT,
            bootstrap_servers=servers.endpoints.kafka_bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        found: list[Event] = []
        await consumer.start()
        try:
            async with asyncio.timeout(20):
                while len(found) < number:
                    found += await _batch(consumer, school, wait_ms=500)
            found += await _batch(consumer, school, wait_ms=300)
        finally:
            await consumer.stop()
        return found

    return read


async def _without_trailing_slash(request: httpx.Request) -> None:
    """The sheet is at the base URL itself, where httpx would add a slash."""
    request.url = request.url.copy_with(path=request.url.path.rstrip("/"))


async def _batch(consumer: AIOKafkaConsumer, school: str, wait_ms: int) -> list[Event]:
    batches = await consumer.getmany(timeout_ms=wait_ms)
    envelopes = [Envelope.read(record.headers, record.value) for records in batches.values() for record in records]
    return [envelope.event for envelope in envelopes if envelope.event.subject() == school]
