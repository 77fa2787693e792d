"""The import: speed beside lxml's own `iterparse` over the same bytes, memory, a school's wait, workers side by side.

Run: `make bench-import` (about a quarter of an hour), or with the names of some parts: `speed memory school workers`.
Everything runs on servers of its own, in one run; each figure is the median of its runs, with the lowest and highest.

- speed: one worker, from the stored upload to the committed database of the establishment, for a first import and for
  the same pupils in a newer export; each time right after an `iterparse` + clear of the same zip, unpacked on its way.
- memory: the peak of a worker process that imports 1,000, 100,000 and 1,000,000 pupils, a process for each.
- school: 1,500 pupils, from the request of the upload to `completed`, through the API and a worker process.
- workers: 200 schools of 1,000 pupils, uploaded first, then imported by 1, 2 and 4 worker processes.
"""

import asyncio
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO
from uuid import UUID

import httpx
import psycopg
from asgi_lifespan import LifespanManager
from lxml import etree

from cpro_contracts.identifiers import uai_key
from cpro_embedded.ports import free_ports
from cpro_platform import logs
from cpro_platform.config import TelemetrySettings
from cpro_platform.database import database_conninfo
from cpro_siecle_import import handlers
from cpro_siecle_import.bootstrap import Service, Work
from cpro_siecle_import.config import Config
from cpro_siecle_import.domain.jobs import AT_REST, Job, State
from cpro_siecle_import.entrypoints.api import create
from cpro_siecle_import.ports import RosterWork
from cpro_tenant_db import directory, provisioning
from cpro_test_support.import_world import (
    EXPORTED,
    YEAR,
    School,
    environment_of,
    new_school,
    prepared_config,
    stored_upload,
)
from cpro_test_support.roles import ACCESS
from cpro_test_support.servers import Servers, start_servers
from cpro_test_support.siecle_samples import generate_pupils, siecle_zip, write_siecle_xml
from cpro_test_support.siecle_samples.records import RecordStyle

PARTS = ("speed", "memory", "school", "workers")
RUNS = 5
LARGE, SCHOOL_PUPILS = 100_000, 1_500
MEMORY_PUPILS = (1_000, 100_000, 1_000_000)
SCHOOLS, PUPILS_OF_EACH, WORKERS = 200, 1_000, (1, 2, 4)
_SCHOOL_RUNS = 15
XML_NAME = "ElevesSansAdresses.xml"
_WORKER = "from cpro_siecle_import.entrypoints.cli import app; app()"


@dataclass
class Results:
    """What the last line says; a part that was not run leaves its figures out."""

    figures: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        names = ("first_vs_iterparse", "unchanged_vs_iterparse", "rss_growth_mb", "school_ms", "workers_2x")
        return "bench-import: " + " ".join(f"{name}={self.figures[name]}" for name in names if name in self.figures)


@dataclass
class Bench:
    """The servers, a folder for files, and an installation of the service."""

    servers: Servers
    folder: Path
    config: Config
    results: Results = field(default_factory=Results)
    ports: tuple[int, ...] = ()
    """Where the workers tell whether they are ready."""
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1_200_000, 1_300_000)))

    async def new_tenant(self) -> str:
        number = next(self._numbers)
        uai = f"{number:07}{uai_key(number)}"
        tenants = self.config.tenants
        async with directory.opened(tenants.directory_conninfo) as opened:
            await provisioning.create_tenant(opened, tenants.cluster_conninfos, uai, "south", ACCESS)
        return uai

    def export(self, uai: str, pupils: int, *, minutes: int = 0, style: RecordStyle = RecordStyle.LEAN) -> Path:
        """The zip of a school's export, made so many minutes after the first."""
        path = self.folder / f"{uai}-{pupils}-{minutes}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(XML_NAME, "w") as file:
            write_siecle_xml(
                file,
                uai,
                lambda: generate_pupils(pupils, 1, school_year=YEAR),
                exported_at=EXPORTED + timedelta(minutes=minutes),
                school_year=YEAR,
                style=style,
            )
        return path

    @contextmanager
    def workers(self, number: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
        self.ports = tuple(free_ports(number))
        started = [
            subprocess.Popen(
                [sys.executable, "-c", _WORKER, "worker"],
                env={**os.environ, **environment_of(self.config), "CPRO_SIECLE_IMPORT_OPERATIONS__PORT": str(port)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for port in self.ports
        ]
        try:
            yield started
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()

    async def ready(self) -> None:
        """Once every worker answers that it is: it has joined the group."""
        async with httpx.AsyncClient() as client, asyncio.timeout(60):
            for port in self.ports:
                while not await _answers(client, port):  # noqa: ASYNC110 - another process becomes ready
                    await asyncio.sleep(0.05)


async def _answers(client: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def speed(bench: Bench) -> None:
    for style in (RecordStyle.FULL, RecordStyle.LEAN):
        uai = await bench.new_tenant()
        files = [bench.export(uai, LARGE, minutes=minutes, style=style) for minutes in (0, 1)]
        ratios: dict[str, list[float]] = {"first": [], "unchanged": []}
        rates: dict[str, list[float]] = {"first": [], "unchanged": [], "iterparse": []}
        for _ in range(RUNS):
            for kind, path in zip(ratios, files, strict=True):
                reading = iterparse_seconds(path)
                importing = await import_seconds(bench, uai, path)
                ratios[kind].append(reading / importing)
                rates[kind].append(LARGE / importing)
                rates["iterparse"].append(LARGE / reading)
            await emptied(bench, uai)
        size = opened(files[0]).seek(0, os.SEEK_END)
        print(f"\n{style} records: {LARGE} pupils, {size / 1e6:.0f} MB, {size / LARGE:.0f} bytes a pupil")
        for kind, values in rates.items():
            print(f"  {kind:<10} {spread(values, '.0f')} pupils/s")
        for kind, values in ratios.items():
            print(f"  {kind:<10} {spread(values, '.2f')} of iterparse + clear")
            if style is RecordStyle.FULL:
                bench.results.figures[f"{kind}_vs_iterparse"] = f"{statistics.median(values):.2f}"
        for path in files:
            path.unlink()


def opened(path: Path) -> IO[bytes]:
    """The XML of an export, unpacked while it is read."""
    return zipfile.ZipFile(path).open(XML_NAME)


def iterparse_seconds(path: Path) -> float:
    began = time.perf_counter()
    with opened(path) as stream:
        for _, element in etree.iterparse(stream, tag="ELEVE", resolve_entities=False, no_network=True):
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    return time.perf_counter() - began


async def import_seconds(bench: Bench, uai: str, path: Path) -> float:
    """From the stored upload to the commit in the establishment's database, in a worker's own code."""
    committed: list[float] = []
    async with Service(bench.config, work=Work.NOTHING) as service:
        open_roster = service.rosters.open

        @asynccontextmanager
        async def watched(school: str) -> AsyncIterator[RosterWork]:
            async with open_roster(school) as work:
                yield work
            committed.append(time.perf_counter())

        job = await stored_upload(service, uai, path)
        service.rosters.open = watched  # type: ignore[method-assign, assignment]
        began = time.perf_counter()
        await handlers.run_import(
            uai, job.id, jobs=service.jobs, rosters=service.rosters, exports=service.exports, clock=service.clock,
            rules=service.rules,
        )  # fmt: skip
        done = await service.jobs.find(uai, job.id)
    assert done is not None
    assert done.state is State.COMPLETED, done
    return committed[0] - began


async def emptied(bench: Bench, uai: str) -> None:
    """An establishment without pupils again."""
    tenants = bench.config.tenants
    async with directory.opened(tenants.directory_conninfo) as opened:
        tenant = await opened.find(uai)
    assert tenant is not None
    conninfo = database_conninfo(tenants.cluster_conninfos[tenant.cluster], tenant.database)
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await connection.execute("DELETE FROM pupil_ine_alias; DELETE FROM pupil; DELETE FROM siecle_import_applied")
        await connection.execute("DELETE FROM outbox; DELETE FROM siecle_import_change")
        await connection.execute("VACUUM ANALYZE")


async def memory(bench: Bench) -> None:
    peaks: dict[int, float] = {}
    for pupils in MEMORY_PUPILS:
        uai = await bench.new_tenant()
        path = bench.export(uai, pupils)
        async with Service(bench.config, work=Work.RELAY) as service:
            with bench.workers(1) as (worker,):
                job = await stored_upload(service, uai, path)
                await at_rest(service, uai, job.id)
                peaks[pupils] = peak_megabytes(worker.pid)
        path.unlink()
        print(f"  {pupils:>9} pupils: worker's peak {peaks[pupils]:.0f} MB")
    growth = peaks[MEMORY_PUPILS[-1]] - peaks[MEMORY_PUPILS[0]]
    print(f"  growth from the first to the last: {growth:.0f} MB")
    bench.results.figures["rss_growth_mb"] = f"{growth:.0f}"


def peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


async def at_rest(service: Service, uai: str, job_id: UUID) -> Job:
    while True:
        job = await service.jobs.find(uai, job_id)
        if job is not None and job.state in AT_REST:
            assert job.state is State.COMPLETED, job
            return job
        await asyncio.sleep(0.005)


async def school(bench: Bench) -> None:
    app = create(Service(bench.config, work=Work.RELAY))
    async with LifespanManager(app, startup_timeout=30):
        transport = httpx.ASGITransport(app)
        waits: dict[str, list[float]] = {"first": [], "unchanged": []}
        with bench.workers(1):
            await one_wait(bench, transport, {"first": [], "unchanged": []})  # until the worker has its partitions
            for _ in range(_SCHOOL_RUNS):
                await one_wait(bench, transport, waits)
    for kind, values in waits.items():
        print(f"  {kind:<10} {spread(values, '.0f')} ms from upload to completed, {SCHOOL_PUPILS} pupils")
    bench.results.figures["school_ms"] = f"{statistics.median(waits['first']):.0f}"


async def one_wait(bench: Bench, transport: httpx.ASGITransport, waits: dict[str, list[float]]) -> None:
    pupils = list(generate_pupils(SCHOOL_PUPILS, 1, school_year=YEAR))
    async with new_school(bench.config, transport, bench.servers) as school:
        for values in waits.values():
            content = school.file(pupils, style=RecordStyle.FULL)
            began = time.perf_counter()
            answer = await school.upload(content)
            await completed(school, answer.json()["id"])
            values.append((time.perf_counter() - began) * 1000)


async def completed(school: School, import_id: str) -> None:
    while (found := await school.read(import_id))["state"] != "completed":
        assert found["state"] in {"queued", "running"}, found
        await asyncio.sleep(0.01)


async def workers(bench: Bench) -> None:
    seconds: dict[int, float] = {}
    for number in WORKERS:
        schools = [await bench.new_tenant() for _ in range(SCHOOLS)]
        async with Service(bench.config, work=Work.NOTHING) as service:
            jobs = [await uploaded_zip(bench, service, uai, seed) for seed, uai in enumerate(schools)]
        with bench.workers(number):
            await bench.ready()
            # Nothing was asked for yet: the requests leave with the relay.
            async with Service(bench.config, work=Work.RELAY) as service:
                began = time.perf_counter()
                for job in jobs:
                    await at_rest(service, job.uai, job.id)
                seconds[number] = time.perf_counter() - began
        rate = SCHOOLS * PUPILS_OF_EACH / seconds[number]
        print(
            f"  {number} workers: {SCHOOLS} schools of {PUPILS_OF_EACH} in {seconds[number]:.1f} s, {rate:.0f} pupils/s"
        )
    bench.results.figures["workers_2x"] = f"{seconds[1] / seconds[2]:.2f}"


async def uploaded_zip(bench: Bench, service: Service, uai: str, seed: int) -> Job:
    path = bench.folder / f"{uai}.zip"
    pupils = generate_pupils(PUPILS_OF_EACH, seed, school_year=YEAR)
    path.write_bytes(siecle_zip(uai, pupils, exported_at=EXPORTED, school_year=YEAR, style=RecordStyle.FULL))
    job = await stored_upload(service, uai, path)
    path.unlink()
    return job


def spread(values: Sequence[float], form: str) -> str:
    """Median, with the lowest and the highest."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}}, {len(values)} runs)"


async def main(parts: Sequence[str]) -> None:
    logs.configure(TelemetrySettings(log_level="warning"), service="benchmark")
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, lxml {etree.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        servers = start_servers(Path(folder) / "servers", clusters=("north", "south"))
        try:
            config = await prepared_config(servers)
            config = config.model_copy(update={"max_upload_bytes": 2_000_000_000})
            bench = Bench(servers, Path(folder), config)
            for part in parts:
                print(f"\n{part}", flush=True)
                await {"speed": speed, "memory": memory, "school": school, "workers": workers}[part](bench)
        finally:
            servers.stop()
    print(f"\n{bench.results.line()}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or PARTS))
