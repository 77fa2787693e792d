"""At rest: what 500 establishments cost that nobody uses just now. It must be nothing.

Run: `make bench-idle` (about three minutes), or with a number of establishments of your own: `idle.py 500`.

All processes of the four services run with production's settings, on servers of their own. Some establishments are
busy first: opt-ins, imports, moves, questions to the APIs, and events that a dead process had left in their outboxes;
so that every process whose business are tenants has connections to several. When the last one is closed, the services
rest for a minute. Connections to tenant databases, and transactions in them, are what PostgreSQL says. The measuring
connects to no tenant. Autovacuum is off by then: it visits every database of a cluster, with or without services.
"""

import asyncio
import contextlib
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from cpro_embedded.demo.administrator import Administrator
from cpro_embedded.demo.waiting import until
from cpro_embedded.services import Installation, prepare
from cpro_platform import logs
from cpro_platform.config import TelemetrySettings
from cpro_platform.database import Connection, database_conninfo
from cpro_tenant_db.tenant_outbox import LONGEST_OPERATION
from cpro_test_support.import_world import EXPORTED, YEAR
from cpro_test_support.many_tenants import create_tenants, invented_uais
from cpro_test_support.running_services import RunningServices
from cpro_test_support.servers import Servers, start_servers
from cpro_test_support.siecle_samples import Mobility, academy

TENANTS = 500
BUSY, PUPILS = 24, 40
SEVERAL = 2
REST_SECONDS = 60
LOOK_SECONDS = 0.1
WITH_TENANTS = (
    "settings api", "settings relay", "siecle_import api", "siecle_import worker", "siecle_import worker",
    "siecle_import relay", "transfer api", "transfer move",
)  # fmt: skip
VISITING = ("transfer sweep --stay",)
"""Asks tenants of the files that are in the store, once a day."""
WITHOUT_TENANTS = ("media api", "media sweep", "siecle_import sweep", "transfer join", "transfer relay")
_CHANGES = Mobility(leaving=0.05, within_the_set=1, returning=0, without_ine=0, with_mistaken_ine=0)
_TENANT_SESSIONS = """
SELECT datname, client_port FROM pg_stat_activity
WHERE starts_with(datname, 'cpro_tenant_') AND backend_type = 'client backend'
"""
_TENANT_WORK = """
SELECT sum(xact_commit + xact_rollback)::bigint, sum(sessions)::bigint
FROM pg_stat_database WHERE starts_with(datname, 'cpro_tenant_')
"""
_OTHER_WORK = """
SELECT datname, xact_commit + xact_rollback FROM pg_stat_database
WHERE datname ~ '^cpro_' AND NOT starts_with(datname, 'cpro_tenant_')
"""


@dataclass
class Clusters:
    """What PostgreSQL says of the tenants, asked in a database that is none."""

    connections: Sequence[Connection]
    seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By process: the tenants that it was seen connected to."""

    async def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of all clusters."""
        found = [await (await connection.execute(query.encode())).fetchall() for connection in self.connections]
        return [row for rows in found for row in rows]

    async def open_connections(self) -> int:
        """How many there are to tenants now."""
        return len(await self.ask(_TENANT_SESSIONS))

    async def look(self, pids: Mapping[str, int]) -> None:
        """Note which process is connected to which tenant."""
        sessions = await self.ask(_TENANT_SESSIONS)
        owners = await asyncio.to_thread(_owners, pids) if sessions else {}
        for database, port in sessions:
            if port in owners:
                self.seen[owners[port]].add(database)

    async def work(self) -> tuple[int, int]:
        """Transactions and sessions in tenant databases, since ever."""
        rows = await self.ask(_TENANT_WORK)
        return sum(row[0] for row in rows), sum(row[1] for row in rows)

    async def other_work(self) -> dict[str, int]:
        """Transactions in the services' own databases, since ever."""
        return dict(await self.ask(_OTHER_WORK))

    async def stop_autovacuum(self) -> None:
        """From now on no worker of it is in any database."""
        for connection in self.connections:
            await connection.execute("ALTER SYSTEM SET autovacuum = off")
            await connection.execute("SELECT pg_reload_conf()")
        await until(
            "autovacuum ended",
            lambda: self.ask("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'autovacuum%'"),
            lambda found: not found,
        )

    @asynccontextmanager
    async def watching(self, services: RunningServices) -> AsyncIterator[None]:
        """Look again and again while the block runs."""

        async def keep_looking() -> None:
            while True:
                await self.look(services.pids_by_name)
                await asyncio.sleep(LOOK_SECONDS)

        task = asyncio.create_task(keep_looking())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()


def _owners(pids: Mapping[str, int]) -> dict[int, str]:
    """Whose a local port is: which process holds the socket."""
    sockets: dict[str, str] = {}
    for name, pid in pids.items():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                sockets[str(descriptor.readlink())] = name
    owners = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, _, _, _, _, _, _, inode, *_ = line.split()
        if owner := sockets.get(f"socket:[{inode}]"):
            owners[int(local.rpartition(":")[2], 16)] = owner
    return owners


@asynccontextmanager
async def opened_clusters(clusters: Mapping[str, str]) -> AsyncIterator[Clusters]:
    async with AsyncExitStack() as opened:
        connections = [
            await opened.enter_async_context(
                await psycopg.AsyncConnection.connect(database_conninfo(url, "postgres"), autocommit=True)
            )
            for url in clusters.values()
        ]
        yield Clusters(connections)


async def leave_notes(installation: Installation, uais: Sequence[str]) -> None:
    """As a process of each service that died long ago: its relay looks into these tenants' outboxes at the start."""
    for config in (installation.settings, installation.siecle_import):
        async with await psycopg.AsyncConnection.connect(config.database.conninfo) as connection:
            await connection.execute(
                "INSERT INTO tenant_outbox_note (id, uai, noted_at)"
                " SELECT gen_random_uuid(), uai, now() - %s FROM unnest(%s::text[]) AS uai",
                (LONGEST_OPERATION + timedelta(hours=1), list(uais)),
            )


async def be_busy(servers: Servers, services: RunningServices, uais: Sequence[str]) -> None:
    """Opt-ins, two imports for each school, the moves that follow, and what people ask for meanwhile."""
    async with AsyncExitStack() as opened:

        async def administrators(name: str) -> list[Administrator]:
            client = await opened.enter_async_context(httpx.AsyncClient(base_url=services.url(name), timeout=60))
            tokens = [servers.tokens.token("benchmark", ["administrator"], uai) for uai in uais]
            return [Administrator(uai, token, client) for uai, token in zip(uais, tokens, strict=True)]

        for one in await administrators("settings api"):
            await one.chooses_transfers(enabled=True)
        importing = await administrators("siecle_import api")
        left = 0
        for round_ in academy(
            BUSY, PUPILS, 1, mobility=_CHANGES, school_year=YEAR, first_export=EXPORTED - timedelta(days=21), uais=uais
        ):
            files = [
                export.file(school_year=YEAR, exported_at=round_.exported_at).packed() for export in round_.exports
            ]
            done = await asyncio.gather(*(one.imports(file) for one, file in zip(importing, files, strict=True)))
            assert {job["state"] for job in done} == {"completed"}, [job["state"] for job in done]
            await asyncio.gather(*(_read_changes(one, job["id"]) for one, job in zip(importing, done, strict=True)))
            left = sum(change.kind == "left" for change in round_.changes)
        asking = await administrators("transfer api")

        async def completed() -> int:
            return sum([len(await one.outgoing("completed")) for one in asking])

        await until(
            f"{left} transfers completed", completed, lambda seen: seen == left, within_seconds=120, every_seconds=0.5
        )
        for one in asking:
            await one.transferable_pupils()


async def _read_changes(one: Administrator, import_id: str) -> None:
    answer = await one.client.get(
        f"/v1/establishments/{one.uai}/siecle-imports/{import_id}/changes",
        headers={"Authorization": f"Bearer {one.token}"},
    )
    assert answer.is_success, answer.text


async def rest(clusters: Clusters, services: RunningServices) -> tuple[int, int]:
    """Connections to tenants, and transactions in their databases, in a minute of rest."""
    before, sessions_before = await clusters.work()
    own_before = await clusters.other_work()
    most = 0
    ends = time.monotonic() + REST_SECONDS
    while time.monotonic() < ends:
        services.check()
        most = max(most, await clusters.open_connections())
        await asyncio.sleep(LOOK_SECONDS)
    after, sessions_after = await clusters.work()
    own = {name: number - own_before[name] for name, number in (await clusters.other_work()).items()}
    print(
        f"  in {REST_SECONDS} s of rest: {after - before} transactions in tenant databases, at most {most} connections"
    )
    print("  for comparison, transactions in the services' own databases:", end=" ")
    print(", ".join(f"{name} {number}" for name, number in sorted(own.items()) if name != "cpro_template"))
    # A connection too short to be seen has counted as a session.
    return max(most, sessions_after - sessions_before), after - before


def check_everybody_was_busy(clusters: Clusters, services: RunningServices) -> None:
    """Else the rest would prove nothing."""
    for name in services.pids_by_name:
        tenants = len(clusters.seen[name])
        print(f"  {name:<24} was connected to {tenants} tenants")
        if _is_one_of(WITH_TENANTS, name):
            assert tenants >= SEVERAL, name
        if _is_one_of(WITHOUT_TENANTS, name):
            assert tenants == 0, name


def _is_one_of(kinds: Sequence[str], process: str) -> bool:
    return any(process.startswith(f"{kind.replace(' ', '-')}-") for kind in kinds)


async def measure(tenants: int) -> tuple[int, int]:
    """Connections and transactions."""
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        servers = start_servers(folder / "servers", clusters=("north", "south"))
        opened.callback(servers.stop)
        installation = Installation.fresh(servers.endpoints)
        await prepare(installation)
        began = time.perf_counter()
        uais = invented_uais(tenants)
        await create_tenants(installation.tenants, uais, installation.access)
        print(f"  {tenants} tenants made in {time.perf_counter() - began:.0f} s", flush=True)
        await leave_notes(installation, uais[BUSY : 2 * BUSY])

        clusters = await opened.enter_async_context(opened_clusters(servers.endpoints.postgres_clusters))
        services = RunningServices(installation, folder, (*WITH_TENANTS, *WITHOUT_TENANTS, *VISITING))
        async with clusters.watching(services):
            await opened.enter_async_context(services)
            await be_busy(servers, services, uais[:BUSY])
        check_everybody_was_busy(clusters, services)

        await clusters.stop_autovacuum()
        began = time.perf_counter()
        await until(
            "the last connection closed",
            clusters.open_connections,
            lambda number: number == 0,
            within_seconds=installation.tenants.idle_seconds + 15,
        )
        print(f"  all closed {time.perf_counter() - began:.0f} s later", flush=True)
        return await rest(clusters, services)


async def main(tenants: int) -> int:
    logs.configure(TelemetrySettings(log_level="warning"), service="benchmark")
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    connections, queries = await measure(tenants)
    print(f"\nbench-idle: tenants={tenants} connections={connections} queries={queries}")
    return 0 if connections == queries == 0 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else TENANTS)))
