"""La rentrée: every school uploads its new export at once, a quarter of the pupils are now at another one.

Run: `make bench-rentree` (about ten minutes), or with numbers of schools of your own: `rentree.py 10 20 40`.

For each number, on servers of its own (two PostgreSQL clusters, Kafka, S3) and with production's settings:

- In June every school of 1,000 pupils has imported its file, in records as full as real ones. Everybody who will leave
  has 20 rows in the six record tables, one of them with a file. This is not timed.
- In September all schools upload at once, through the import's API. From the first upload to the last transfer
  completed is timed: API, two workers, join, mover and both relays are processes of their own.
- Then every database and the store are read: each record once, unchanged, where the pupil now is; both receipts; no
  hold. None of that knows the mover.

The pupils go to any other school, so the more schools, the fewer go from one to the same other: 28 for each pair and
direction with 10 schools, 13 with 20, 6 with 40. Transfers move in batches of one pair: this is the growth to look at.
"""

import asyncio
import itertools
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg

from cpro_embedded.demo.waiting import until
from cpro_embedded.services import Installation, prepare
from cpro_platform import logs
from cpro_platform.clock import SettableClock
from cpro_platform.config import TelemetrySettings
from cpro_platform.object_store import ObjectStore
from cpro_siecle_import.bootstrap import Service, Work
from cpro_test_support.bulk_records import seed_files, seed_rows
from cpro_test_support.bulk_verification import Content, Findings, Move, Record, verify_in_bulk, written
from cpro_test_support.import_world import EXPORTED, YEAR, stored_upload
from cpro_test_support.many_tenants import create_tenants, invented_uais
from cpro_test_support.running_services import RunningServices
from cpro_test_support.schools import School, opened_on
from cpro_test_support.servers import Servers, start_servers
from cpro_test_support.siecle_samples import Mobility, RecordStyle, academy
from cpro_test_support.siecle_samples.mobility import Round

SCHOOLS = (10, 20, 40)
PUPILS = 1_000
ROWS_OF_A_LEAVER = {
    "report": 3,
    "activity_sheet": 4,
    "assessment": 6,
    "professional_passport": 1,
    "passport_entry": 5,
}
FILES_OF_A_LEAVER = 1
ROWS = sum(ROWS_OF_A_LEAVER.values()) + FILES_OF_A_LEAVER
# Nobody's number is missing or wrong: whoever leaves one school arrives at another, and must be found there.
CHANGES = Mobility(leaving=0.25, within_the_set=1, returning=0, without_ine=0, with_mistaken_ine=0)
JUNE = datetime(YEAR, 6, 20, 10, tzinfo=UTC)
PROCESSES = (
    "siecle_import api", "siecle_import worker", "siecle_import worker", "siecle_import relay",
    "transfer join", "transfer move", "transfer relay",
)  # fmt: skip
FRANCE = 5_700_000
NIGHT_HOURS = 10
_WITHIN_SECONDS = 900
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """One rentrée."""

    schools: int
    pupils: int
    moves: int
    events: int
    import_seconds: float
    """Until all imports were completed."""
    seconds: float
    """Until the last move."""
    findings: Findings

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"  {self.pupils} pupils in September, {self.moves} of them moved with {self.moves * ROWS} rows"
        rate = self.pupils / self.import_seconds
        yield f"  all imports completed after {self.import_seconds:.1f} s, {rate:.0f} pupils/s"
        yield f"  last move completed after   {self.seconds:.1f} s, {self.moves / self.seconds:.1f} moves/s"
        yield f"  {self.events} events, {self.events / self.seconds:.0f} events/s"
        yield f"  check: {self.findings}"


@dataclass
class World:
    """An installation with its schools."""

    servers: Servers
    folder: Path
    installation: Installation
    databases: Mapping[str, str]
    """UAI to connection string."""
    june: Round
    september: Round
    seeded: dict[Record, Content] = field(default_factory=dict)

    @property
    def before(self) -> dict[str, str]:
        """Where each pupil was in June: INE to UAI."""
        return _present(self.june)

    @property
    def now(self) -> dict[str, str]:
        """Where each pupil is in September."""
        return _present(self.september)

    @property
    def moves(self) -> list[Move]:
        """Who must have moved."""
        now = self.now
        return [Move(ine, uai, now[ine]) for ine, uai in self.before.items() if ine in now and now[ine] != uai]

    @contextmanager
    def files(self, one: Round, school_year: int) -> Iterator[dict[str, Path]]:
        """Every school's export, written before anything is timed."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            paths = {}
            for export in one.exports:
                paths[export.uai] = Path(folder) / f"{export.uai}.zip"
                file = export.file(school_year=school_year, exported_at=one.exported_at, style=RecordStyle.FULL)
                paths[export.uai].write_bytes(file.packed())
            yield paths


def _present(one: Round) -> dict[str, str]:
    return {
        str(pupil.ine): export.uai
        for export in one.exports
        for pupil in export.pupils
        if pupil.leaving_date is None
    }  # fmt: skip


@asynccontextmanager
async def opened_world(folder: Path, schools: int) -> AsyncIterator[World]:
    servers = start_servers(folder / "servers", clusters=("north", "south"))
    try:
        installation = Installation.fresh(servers.endpoints)
        await prepare(installation)
        uais = invented_uais(schools)
        databases = await create_tenants(installation.tenants, uais, installation.access)
        june, september = academy(
            schools,
            PUPILS,
            schools % 500,
            mobility=CHANGES,
            school_year=YEAR,
            first_export=JUNE,
            days_between=(EXPORTED - JUNE).days,
            uais=uais,
        )
        yield World(servers, folder, installation, databases, june, september)
    finally:
        servers.stop()


async def live_until_summer(world: World, services: RunningServices) -> None:
    """The opt-ins, the imports of June, the records of those who will leave; and the join knows everybody."""
    async with opened_on(world.servers.endpoints, world.installation.tenants) as schools:
        for uai in world.databases:
            await School(schools, uai).opts_in()
    with world.files(world.june, YEAR - 1) as files:
        imports = world.installation.siecle_import
        async with Service(imports, clock=SettableClock(JUNE), work=Work.NOTHING) as service:
            for uai, path in files.items():
                await stored_upload(service, uai, path)
        await imports_completed(world, services, len(files))
    await seed(world)
    world.seeded = await written(world.databases)
    await known_to_the_join(world, services)
    # As months of autovacuum would have done.
    own = (world.installation.transfer.database.conninfo, world.installation.siecle_import.database.conninfo)
    for conninfo in (*own, *world.databases.values()):
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            await connection.execute("VACUUM ANALYZE")


async def seed(world: World) -> None:
    """Records for everybody who will leave."""
    leavers: dict[str, list[str]] = {uai: [] for uai in world.databases}
    for move in world.moves:
        leavers[move.origin].append(move.ine)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def seed_one(uai: str) -> None:
        async with turns, await psycopg.AsyncConnection.connect(world.databases[uai]) as connection:
            found = await connection.execute("SELECT id FROM pupil WHERE ine = ANY (%s)", (leavers[uai],))
            pupils = [row[0] for row in await found.fetchall()]
            assert len(pupils) == len(leavers[uai]), f"{len(pupils)} of {len(leavers[uai])} leavers of {uai}"
            await seed_rows(connection, pupils, ROWS_OF_A_LEAVER)
            await seed_files(connection, store, uai, pupils)

    store = ObjectStore(world.installation.transfer.object_store)
    try:
        await asyncio.gather(*map(seed_one, world.databases))
    finally:
        await store.close()


async def september(world: World, services: RunningServices) -> tuple[float, float]:
    """Everybody uploads. Seconds until the last import, and until the last transfer, was completed."""
    with world.files(world.september, YEAR) as files:
        contents = {uai: path.read_bytes() for uai, path in files.items()}
    tokens = {uai: world.servers.tokens.token("benchmark", ["administrator"], uai) for uai in contents}
    async with httpx.AsyncClient(base_url=services.url("siecle_import api"), timeout=60) as client:

        async def upload(uai: str) -> None:
            answer = await client.post(
                f"/v1/establishments/{uai}/siecle-imports",
                content=contents[uai],
                headers={"Authorization": f"Bearer {tokens[uai]}", "Content-Type": "application/zip"},
            )
            assert answer.status_code == 202, answer.text

        began = time.time()
        await asyncio.gather(*map(upload, contents))
    imported_at = await imports_completed(world, services, 2 * len(contents))
    moved_at = await transfers_completed(world, services)
    return imported_at - began, moved_at - began


async def imports_completed(world: World, services: RunningServices, number: int) -> float:
    """Wait until so many imports are completed. When the last one was."""

    async def look() -> tuple[dict[str, int], float]:
        services.check()
        conninfo = world.installation.siecle_import.database.conninfo
        rows = await _ask(conninfo, "SELECT state, count(*), max(finished_at) FROM import_job GROUP BY state")
        states = {state: count for state, count, _ in rows}
        assert not states.keys() - {"queued", "running", "completed"}, states
        return states, max((ended.timestamp() for _, _, ended in rows if ended), default=0)

    _, last = await until(
        f"{number} imports completed",
        look,
        lambda seen: seen[0].get("completed") == number,
        within_seconds=_WITHIN_SECONDS,
    )
    return last


async def transfers_completed(world: World, services: RunningServices) -> float:
    """Wait until every pupil who changed school has been followed by a transfer. When the last one was completed."""
    number = len(world.moves)

    async def look() -> tuple[dict[str, int], float]:
        services.check()
        rows = await _ask(
            world.installation.transfer.database.conninfo,
            "SELECT concat_ws(' ', state, reason), count(*), max(completed_at) FROM transfer GROUP BY 1",
        )
        return {state: count for state, count, _ in rows}, max(
            (ended.timestamp() for _, _, ended in rows if ended), default=0
        )

    _, last = await until(
        f"{number} transfers completed",
        look,
        lambda seen: seen[0] == {"completed": number},
        within_seconds=_WITHIN_SECONDS,
        every_seconds=0.5,
    )
    return last


async def known_to_the_join(world: World, services: RunningServices) -> None:
    async def look() -> int:
        services.check()
        ((known,),) = await _ask(world.installation.transfer.database.conninfo, "SELECT count(*) FROM enrolment")
        return int(known)

    everybody = len(world.before)
    await until(f"{everybody} enrolments", look, lambda known: known == everybody, within_seconds=_WITHIN_SECONDS)


async def events_published(world: World, services: RunningServices) -> int:
    """Wait until no outbox holds anything back. How many events there ever were."""
    installation = world.installation
    own = (installation.siecle_import.database.conninfo, installation.transfer.database.conninfo)

    async def look() -> tuple[int, int]:
        services.check()
        counts = [
            await _ask(conninfo, "SELECT count(*), count(published_at) FROM outbox")
            for conninfo in (*own, *world.databases.values())
        ]
        return sum(row[0][0] for row in counts), sum(row[0][1] for row in counts)

    written_down, _ = await until(
        "every event published", look, lambda seen: seen[0] == seen[1], within_seconds=_WITHIN_SECONDS
    )
    return written_down


async def _ask(conninfo: str, query: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def rentree(schools: int) -> Figures:
    print(f"\n{schools} schools of {PUPILS} pupils", flush=True)
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        began = time.perf_counter()
        world = await opened.enter_async_context(opened_world(folder, schools))
        services = await opened.enter_async_context(RunningServices(world.installation, folder, PROCESSES))
        await live_until_summer(world, services)
        before = await events_published(world, services)
        print(f"  prepared in {time.perf_counter() - began:.0f} s: {len(world.seeded)} rows", flush=True)

        import_seconds, seconds = await september(world, services)
        events = await events_published(world, services) - before

        store = ObjectStore(world.installation.transfer.object_store)
        opened.push_async_callback(store.close)
        began = time.perf_counter()
        findings = await verify_in_bulk(world.seeded, world.databases, store, homes=world.now, moves=world.moves)
        print(f"  checked in {time.perf_counter() - began:.0f} s", flush=True)
    return Figures(schools, len(world.now), len(world.moves), events, import_seconds, seconds, findings)


def extrapolate(all_figures: Sequence[Figures]) -> float:
    """Hours for all pupils of France. Says on what it rests."""
    last = all_figures[-1]
    hours = last.seconds / last.pupils * FRANCE / 3600
    machines = math.ceil(hours / NIGHT_HOURS)
    print(f"\n{FRANCE / 1e6:.1f} million pupils, a quarter of them changing school: {hours:.1f} hours")
    each = last.seconds / last.pupils * 1000
    print(f"  It rests on {each:.2f} ms a pupil with {last.schools} schools, taken as linear in pupils,")
    print(f"  on this machine: {os.cpu_count()} cores, which servers, services and this script share.")
    print(
        f"  Machines like this for a night of {NIGHT_HOURS} hours: {machines}, each with its share of the schools and"
    )
    print("  servers of its own; that pupils go from one share to another is not in this figure.")
    for one, other in itertools.pairwise(all_figures):
        exponent = math.log(other.seconds / one.seconds) / math.log(other.pupils / one.pupils)
        print(f"  From {one.schools} to {other.schools} schools the time grew as pupils to the power {exponent:.2f};")
        print("  where that is above 1, batches became smaller: fewer pupils go from one school to the same other.")
    return hours


async def main(numbers: Sequence[int]) -> int:
    logs.configure(TelemetrySettings(log_level="warning"), service="benchmark")
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"Everybody who leaves has {ROWS} rows and {FILES_OF_A_LEAVER} file.")
    all_figures = []
    for number in numbers:
        figures = await rentree(number)
        all_figures.append(figures)
        print("\n".join(figures.lines()), flush=True)
    hours = extrapolate(all_figures)
    last = all_figures[-1]
    lost, doubled = (sum(getattr(one.findings, name) for one in all_figures) for name in ("lost", "doubled"))
    print(
        f"\nbench-rentree: schools={last.schools} pupils={last.pupils} moved={last.moves} seconds={last.seconds:.1f}"
        f" extrapolated_hours={hours:.1f} lost={lost} doubled={doubled}"
    )
    return 0 if all(one.findings.clean for one in all_figures) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main([int(number) for number in sys.argv[1:]] or SCHOOLS)))
