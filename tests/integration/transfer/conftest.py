"""A transfer service of its own over the real servers, and schools to try it on."""

from collections.abc import AsyncIterator

import pytest

from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, opened_world


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[TransferWorld]:
    """A directory, a transfer database and a consumer group of its own."""
    async with opened_world(servers.endpoints) as opened:
        yield opened
