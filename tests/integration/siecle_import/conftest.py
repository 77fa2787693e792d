"""One running import service for the session, a new school for each test."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import httpx
import pytest
from asgi_lifespan import LifespanManager

from cpro_siecle_import.bootstrap import Service, Work
from cpro_siecle_import.config import Config
from cpro_siecle_import.entrypoints.api import create
from cpro_test_support.import_world import School, environment_of, new_school, prepared_config
from cpro_test_support.servers import Servers

StartProcess = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="session")
async def config(servers: Servers) -> Config:
    return await prepared_config(servers)


@pytest.fixture(scope="session")
async def transport(config: Config) -> AsyncIterator[httpx.ASGITransport]:
    """The API with its worker and its relay, all in this process."""
    app = create(Service(config))
    async with LifespanManager(app):
        yield httpx.ASGITransport(app)


@pytest.fixture
async def school(config: Config, transport: httpx.ASGITransport, servers: Servers) -> AsyncIterator[School]:
    async with new_school(config, transport, servers) as school:
        yield school


@pytest.fixture
async def other_school(config: Config, transport: httpx.ASGITransport, servers: Servers) -> AsyncIterator[School]:
    async with new_school(config, transport, servers) as school:
        yield school


@pytest.fixture
def process(config: Config) -> Iterator[StartProcess]:
    """Starts `cpro-siecle-import <command>` as a process; those still alive at the end are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: str, of: Config = config, **environment: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", "from cpro_siecle_import.entrypoints.cli import app; app()", command],
            env={**os.environ, **environment_of(of), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield start
    for each in started:
        each.kill()
        each.wait()


@pytest.fixture
def worker(process: StartProcess) -> StartProcess:
    """Starts `cpro-siecle-import worker` as a process."""
    return partial(process, "worker")


@pytest.fixture(scope="session")
async def config_without_worker(servers: Servers) -> Config:
    """A second installation, whose workers are processes of their own."""
    return await prepared_config(servers)


@pytest.fixture(scope="session")
async def api_only(config_without_worker: Config) -> AsyncIterator[httpx.ASGITransport]:
    app = create(Service(config_without_worker, work=Work.RELAY))
    async with LifespanManager(app):
        yield httpx.ASGITransport(app)


@pytest.fixture
async def lone_school(
    config_without_worker: Config, api_only: httpx.ASGITransport, servers: Servers
) -> AsyncIterator[School]:
    """A school of the installation whose workers are processes of their own."""
    async with new_school(config_without_worker, api_only, servers) as school:
        yield school
