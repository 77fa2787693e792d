"""A process without an API answers those who operate it, on a port of its own or not at all."""

import asyncio
import socket

import httpx
import pytest

from cpro_platform.config import OperationsSettings
from cpro_platform.metrics import Metrics
from cpro_platform.process import operations_port
from cpro_platform.readiness import Readiness


async def test_it_says_that_it_lives_whether_it_is_ready_and_what_it_counts() -> None:
    readiness, metrics = Readiness(), Metrics()
    metrics.counter("cpro_things_total", "Things").inc()
    async with (
        operations_port(OperationsSettings(port=0), readiness, metrics) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        live, ready = await client.get("/livez"), await client.get("/readyz")
        readiness.not_ready("relay", "KafkaConnectionError")
        waiting, counted = await client.get("/readyz"), await client.get("/metrics")
        elsewhere = await client.get("/docs")

    assert (live.status_code, ready.status_code) == (200, 200)
    assert (waiting.status_code, waiting.json()["missing"]) == (503, {"relay": "KafkaConnectionError"})
    assert "cpro_things_total 1.0" in counted.text
    assert elsewhere.status_code == 404


async def test_the_port_is_closed_once_the_work_has_ended() -> None:
    async with operations_port(OperationsSettings(port=0), Readiness(), Metrics()) as port:
        assert port is not None

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_without_a_port_it_opens_none() -> None:
    async with operations_port(OperationsSettings(), Readiness(), Metrics()) as port:
        assert port is None


async def test_a_port_that_is_taken_ends_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with operations_port(OperationsSettings(port=taken.getsockname()[1]), Readiness(), Metrics()):
            pass
