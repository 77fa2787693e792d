"""Establishments' databases for the tests of the tenant library."""

from collections.abc import AsyncIterator

import pytest

from cpro_test_support.schools import School, Schools, opened_schools
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import new_uai


@pytest.fixture(scope="module")
async def schools(servers: Servers) -> AsyncIterator[Schools]:
    """A directory of the module's own, without any school."""
    async with opened_schools(servers.endpoints) as opened:
        yield opened


@pytest.fixture(scope="module")
async def school(schools: Schools) -> School:
    """One school for the tests that leave it as it was."""
    (created,) = await schools.create(new_uai())
    created.publishes = False
    return created
