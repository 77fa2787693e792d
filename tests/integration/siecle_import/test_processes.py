"""The processes without an API as an installation runs them: ready, counted, ended by SIGTERM."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import httpx
import pytest
from asgi_lifespan import LifespanManager

from cpro_embedded.ports import free_ports
from cpro_siecle_import.bootstrap import Service, Work
from cpro_siecle_import.config import Config
from cpro_siecle_import.entrypoints.api import create
from cpro_test_support.import_world import YEAR, School, new_school, prepared_config
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import generate_pupils
from cpro_test_support.transfers import eventually

StartProcess = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
async def operations() -> AsyncIterator[httpx.AsyncClient]:
    """Whoever operates the process: at its own port."""
    (port,) = free_ports(1)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client


def port_of(client: httpx.AsyncClient) -> dict[str, str]:
    return {"CPRO_SIECLE_IMPORT_OPERATIONS__PORT": str(client.base_url.port)}


@pytest.fixture
async def fresh(servers: Servers) -> Config:
    """An installation of its own: what a worker counts here is this test's alone."""
    return await prepared_config(servers)


@pytest.fixture
async def only_school(fresh: Config, servers: Servers) -> AsyncIterator[School]:
    app = create(Service(fresh, work=Work.RELAY))
    async with LifespanManager(app), new_school(fresh, httpx.ASGITransport(app), servers) as school:
        yield school


async def is_ready(client: httpx.AsyncClient) -> bool | None:
    try:
        return (await client.get("/readyz")).status_code == 200 or None
    except httpx.TransportError:
        return None


async def metrics_with(client: httpx.AsyncClient, line: str) -> str | None:
    text = (await client.get("/metrics")).text
    return text if line in text else None


async def test_a_relay_and_a_sweep_say_that_they_are_ready_and_end_in_good_order(
    config_without_worker: Config, process: StartProcess
) -> None:
    ports = dict(zip(("relay", "sweep"), free_ports(2), strict=True))
    started = [
        process(command, config_without_worker, CPRO_SIECLE_IMPORT_OPERATIONS__PORT=str(port))
        for command, port in ports.items()
    ]

    for port in ports.values():
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await eventually(partial(is_ready, client))
            answers = [(await client.get(path)).status_code for path in ("/livez", "/metrics")]
            assert answers == [200, 200]
    for each in started:
        each.terminate()

    assert [await asyncio.to_thread(each.wait) for each in started] == [0, 0]


async def test_a_worker_counts_what_it_did_and_names_nobody(
    fresh: Config, only_school: School, process: StartProcess, operations: httpx.AsyncClient
) -> None:
    started = process("worker", fresh, **port_of(operations))
    await eventually(lambda: is_ready(operations))
    pupils = list(generate_pupils(4, 1, school_year=YEAR))

    await only_school.imports([*pupils[:3], replace(pupils[3], family_name="")])
    await only_school.imports(b"<BEE_COMMUN/>")
    # The job is at rest a moment before the worker counts it.
    text = await eventually(
        lambda: metrics_with(operations, 'cpro_imports_total{outcome="failed"} 1.0'),
        otherwise=lambda: metrics_with(operations, "cpro_import"),
    )
    started.terminate()

    assert 'cpro_imports_total{outcome="completed"} 1.0' in text
    assert 'cpro_import_refusals_total{code="wrong_kind_of_file"} 1.0' in text
    assert 'cpro_import_pupils_total{change="created"} 3.0' in text
    assert 'cpro_import_findings_total{code="family_name_missing",severity="rejection"} 1.0' in text
    assert {"reading", "comparing", "applying", "publishing"} <= set(
        re.findall(r'cpro_import_phase_seconds_count{phase="(\w+)"}', text)
    )
    assert only_school.uai not in text
    assert not any(pupil.first_name in text for pupil in pupils)
    assert await asyncio.to_thread(started.wait) == 0
