"""An import service and a transfer service at work on the same establishments, and schools that use both."""

from collections.abc import AsyncIterator

import httpx
import pytest

from cpro_test_support.privacy_world import PrivacyWorld, opened_privacy_world
from cpro_test_support.servers import Servers


@pytest.fixture
async def both(servers: Servers) -> AsyncIterator[PrivacyWorld]:
    async with opened_privacy_world(servers) as world:
        yield world


@pytest.fixture
async def importing(both: PrivacyWorld) -> AsyncIterator[httpx.ASGITransport]:
    async with both.importing() as transport:
        yield transport
