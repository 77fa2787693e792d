"""Servers of these tests' own, since they are stopped and killed; and a zygote that forks the processes to harm."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cpro_embedded.stack import EmbeddedStack
from cpro_siecle_import.config import Config
from cpro_test_support.faults.importing import Importing, opened_importing
from cpro_test_support.faults.journeys import Journeys
from cpro_test_support.faults.outages import CLUSTERS, Outages
from cpro_test_support.faults.processes import Zygote, opened_zygote
from cpro_test_support.import_world import environment_of, prepared_config
from cpro_test_support.transfers import TransferWorld


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """Embedded servers, which come back on the same port, with three PostgreSQL clusters."""
    with EmbeddedStack(tmp_path_factory.mktemp("servers-to-harm"), CLUSTERS) as stack:
        yield stack


@pytest.fixture
def outages(servers: EmbeddedStack) -> Outages:
    return Outages(servers)


@pytest.fixture(scope="session")
async def zygote(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Zygote]:
    async with opened_zygote(tmp_path_factory.mktemp("processes")) as opened:
        yield opened


@pytest.fixture
async def journeys(world: TransferWorld, zygote: Zygote) -> AsyncIterator[Journeys]:
    """Pupils on their way; whatever processes the test has left are ended with it."""
    yield Journeys(world)
    await zygote.end()


@pytest.fixture(scope="session")
async def import_config(servers: EmbeddedStack) -> Config:
    """An installation of the import whose workers are processes, and quick to be missed when they are killed."""
    config = await prepared_config(servers)
    return config.model_copy(update={"consumer_session_seconds": 1.5, "ask_again_seconds": 1.0})


@pytest.fixture
async def importing(import_config: Config, servers: EmbeddedStack, zygote: Zygote) -> AsyncIterator[Importing]:
    """A new school that imports, and a relay at work."""
    async with opened_importing(import_config, servers) as opened:
        await zygote.start("siecle_import", "relay", environment_of(import_config))
        yield opened
    await zygote.end()
