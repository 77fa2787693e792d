"""The media service on the real servers."""

import os
from collections.abc import AsyncIterator, Callable
from itertools import count
from uuid import uuid4

import httpx
import pytest
from asgi_lifespan import LifespanManager
from pydantic import SecretStr

from cpro_contracts.identifiers import uai_key
from cpro_media.bootstrap import Service, prepare
from cpro_media.config import Config
from cpro_media.entrypoints.api import create
from cpro_platform.config import ObjectStoreSettings, OidcSettings
from cpro_platform.database import database_conninfo
from cpro_platform.object_store import ObjectStore
from cpro_test_support.roles import own_database
from cpro_test_support.servers import Servers

_numbers = count(690_000)


@pytest.fixture
async def config(servers: Servers) -> Config:
    """A database and a bucket of this test's own."""
    endpoints = servers.endpoints
    own = uuid4().hex[:8]
    config = Config(
        database=own_database(database_conninfo(endpoints.postgres_clusters["north"], f"cpro_media_{own}")),
        object_store=ObjectStoreSettings(
            endpoint=endpoints.s3_endpoint,
            access_key=SecretStr(endpoints.s3_access_key),
            secret_key=SecretStr(endpoints.s3_secret_key),
            secure=endpoints.s3_secure,
            bucket=f"media-{own}",
        ),
        oidc=OidcSettings(issuer=endpoints.oidc_issuer, audience=endpoints.oidc_audience),
    )
    await prepare(config)
    return config


@pytest.fixture
def environment(config: Config) -> dict[str, str]:
    """The variables that give a process the same configuration."""
    store, oidc = config.object_store, config.oidc
    return {
        "CPRO_MEDIA_DATABASE__URL": config.database.conninfo,
        "CPRO_MEDIA_OBJECT_STORE__ENDPOINT": store.endpoint,
        "CPRO_MEDIA_OBJECT_STORE__ACCESS_KEY": store.access_key.get_secret_value(),
        "CPRO_MEDIA_OBJECT_STORE__SECRET_KEY": store.secret_key.get_secret_value(),
        "CPRO_MEDIA_OBJECT_STORE__SECURE": str(store.secure),
        "CPRO_MEDIA_OBJECT_STORE__BUCKET": store.bucket,
        "CPRO_MEDIA_OIDC__ISSUER": oidc.issuer,
        "CPRO_MEDIA_OIDC__AUDIENCE": oidc.audience,
        "PATH": os.environ["PATH"],
    }


@pytest.fixture
def school() -> str:
    number = next(_numbers)
    return f"{number:07}{uai_key(number)}"


@pytest.fixture
async def bucket(config: Config) -> AsyncIterator[ObjectStore]:
    """The service's bucket, looked at from outside."""
    store = ObjectStore(config.object_store)
    yield store
    await store.close()


@pytest.fixture
async def service(config: Config) -> Service:
    return Service(config, background=False)


@pytest.fixture
async def client(service: Service, servers: Servers, school: str) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the API below the images of `school`, as its administrator."""
    app = create(service)
    url = f"http://test/v1/establishments/{school}"
    async with (
        LifespanManager(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url) as client,
    ):
        client.headers["Authorization"] = f"Bearer {servers.tokens.token('admin-1', ['administrator'], school)}"
        yield client


@pytest.fixture
def header_of(servers: Servers) -> Callable[..., dict[str, str]]:
    """The header of a caller with these roles."""

    def header(*roles: str, uai: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {servers.tokens.token('someone', list(roles), uai)}"}

    return header
