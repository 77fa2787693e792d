"""A server that goes away and comes back, as `/readyz` of a process tells of it: what, why, and since when."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from cpro_embedded.stack import EmbeddedStack
from cpro_platform.config import OperationsSettings
from cpro_platform.process import operations_port
from cpro_test_support.depth import slow
from cpro_test_support.transfers import eventually, opened_world
from cpro_transfer.bootstrap import Service, Work


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[EmbeddedStack]:
    """Servers of its own: others need theirs."""
    stack = EmbeddedStack(tmp_path, ("main",))
    await asyncio.to_thread(stack.start)
    yield stack
    await asyncio.to_thread(stack.stop)


@pytest.fixture
async def operations(stack: EmbeddedStack) -> AsyncIterator[httpx.AsyncClient]:
    """Where a process that joins and publishes answers those who operate it."""
    async with (
        opened_world(stack.endpoints) as world,
        Service(world.config, work=Work.JOIN | Work.RELAY) as service,
        operations_port(OperationsSettings(port=0), service.readiness, service.metrics) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
    ):
        yield client


@slow
async def test_a_database_and_a_kafka_that_go_away_are_named_with_since_when_until_they_are_back(
    stack: EmbeddedStack, operations: httpx.AsyncClient
) -> None:
    await eventually(lambda: answer(operations, lambda missing: not missing))
    for server, names in ((stack.postgres["main"], {"database", "tenant-directory"}), (stack.kafka, {"/kafka"})):
        before = datetime.now(UTC)
        await asyncio.to_thread(server.stop)
        away = await eventually(partial(answer, operations, partial(has, names=names)))
        since = {name: datetime.fromisoformat(when) for name, when in away["since"].items()}
        later = await eventually(partial(answer, operations, partial(has, names=names)))
        await asyncio.to_thread(server.start)
        back = await eventually(lambda: answer(operations, lambda missing: not missing), within_seconds=60)

        assert (away["status"], back["status"]) == (503, 200)
        assert away["since"].keys() == away["missing"].keys()
        assert all(before <= when <= datetime.now(UTC) for when in since.values())
        assert {name: later["since"][name] for name in away["since"] if name in later["since"]} == {
            name: when for name, when in away["since"].items() if name in later["since"]
        }
        assert back["since"] == {}


def has(missing: dict[str, str], *, names: set[str]) -> bool:
    """Whether each of these is among what is missing, or the end of the name of it."""
    return all(any(known.endswith(name) for known in missing) for name in names)


async def answer(client: httpx.AsyncClient, meets: Callable[[dict[str, str]], bool]) -> dict[str, Any] | None:
    """What `/readyz` says, once what is missing meets this."""
    response = await client.get("/readyz")
    said: dict[str, Any] = response.json() | {"status": response.status_code}
    return said if meets(said["missing"]) else None
