"""What every test may ask for."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cpro_platform import logs
from cpro_platform.config import TelemetrySettings
from cpro_test_support.servers import Servers, start_servers
from cpro_test_support.transfers import TransferWorld, opened_world


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The real servers, started once for the session, with two PostgreSQL clusters: `north` and `south`."""
    running = start_servers(tmp_path_factory.mktemp("servers"), clusters=("north", "south"))
    yield running
    running.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Properties run in full with the other long proofs."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.proof)


@pytest.fixture(scope="session", autouse=True)
def _quiet_logs() -> None:
    """Services log as in production, from warnings on: shown for a test that fails."""
    logs.configure(TelemetrySettings(log_level="warning"), service="tests")


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[TransferWorld]:
    """A transfer service with a directory, a database and a consumer group of its own, and no school yet."""
    async with opened_world(servers.endpoints) as opened:
        yield opened
