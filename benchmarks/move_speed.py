"""The move: verified moves a second beside a naive mover and a plain COPY, the cost of verification, and the wait.

Run: `make bench-move` (some minutes), or with the names of some parts: `throughput latency`.
Everything runs on servers of its own, in one run; each figure is the median of its runs, with the lowest and highest.

- throughput: pupils of one pair of establishments with 100 rows each in five tables. Right after one another: movers;
  the same without digests (what verification costs); a naive mover (pupil by pupil, COPY, commit, DELETE, commit, no
  check at all); a pipe of one binary COPY for each table, which moves nothing, as a yardstick for rows a second.
- latency: from the commit of the second event in the establishment's database to both receipts, through Kafka, the join
  and a mover in processes of their own: one pupil at a time on idle servers, then at 70 % of what they can carry.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from unittest import mock
from uuid import UUID, uuid4

import psycopg
import uvloop
from psycopg import sql

from cpro_contracts.identifiers import IneStatus, match_key_of_ine
from cpro_contracts.pupils import EnrolmentSource, PupilCreated, PupilDeactivated
from cpro_platform import logs, outbox
from cpro_platform.clock import SystemClock
from cpro_platform.config import TelemetrySettings
from cpro_platform.process import let_modules_be
from cpro_test_support.bulk_records import seed_rows
from cpro_test_support.records import Amounts
from cpro_test_support.schools import SECRET, School
from cpro_test_support.servers import start_servers
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai, opened_world
from cpro_transfer.adapters import record_sql
from cpro_transfer.adapters.projection import PostgresFacts, Projection
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.ports.joining import Fact

PARTS = ("throughput", "latency")
RUNS = 5
PUPILS = 600
LATENCY_SCHOOLS, FILES_OF_A_PUPIL = 8, 2
WARM_UP, IDLE_MOVES, SATURATING_MOVES, LOADED_MOVES = 30, 200, 300, 400
MOST_UNDER_WAY, LOAD = 16, 0.7
ROWS_OF_A_PUPIL = {
    "report": 15,
    "activity_sheet": 25,
    "assessment": 40,
    "professional_passport": 1,
    "passport_entry": 19,
}
ROWS = sum(ROWS_OF_A_PUPIL.values())
BORN = date(2009, 4, 12)

_SEED_PUPILS = """
INSERT INTO pupil (id, ine, ine_status, family_name, first_name, birth_date, source, match_key, active, last_import_id)
SELECT id, ine, 'trusted', 'MARTIN', 'Camille', %(born)s, 'siecle', match_key, %(active)s, gen_random_uuid()
FROM unnest(%(ids)s::uuid[], %(ines)s::text[], %(keys)s::text[]) AS given (id, ine, match_key)
"""


@dataclass
class Results:
    """What the last line says; a part that was not run leaves its figures out."""

    figures: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        names = (
            "moves_per_s",
            "vs_naive",
            "vs_copy",
            "verification_cost",
            "p50_ms",
            "p99_ms",
            "loaded_p50_ms",
            "loaded_p99_ms",
        )
        return "bench-move: " + " ".join(f"{name}={self.figures[name]}" for name in names if name in self.figures)


@dataclass(frozen=True)
class Pair:
    """Two establishments, and pupils who left one for the other with all their records still to move."""

    origin: School
    destination: School
    leavers: Sequence[UUID]
    arrivals: Sequence[UUID]
    keys: Sequence[str]


async def a_pair(world: TransferWorld, pupils: int, *, same_ids: bool = False) -> Pair:
    """`same_ids`: the pupils have the same ids at both schools, which no two schools have, for a plain COPY to do."""
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ines = [new_ine() for _ in range(pupils)]
    leavers = [uuid4() for _ in ines]
    pair = Pair(
        origin,
        destination,
        leavers,
        leavers if same_ids else [uuid4() for _ in ines],
        [match_key_of_ine(ine, SECRET) for ine in ines],
    )
    for school, ids, active in ((origin, pair.leavers, False), (destination, pair.arrivals, True)):
        async with world.schools.tenants.begin(school.uai) as tx:
            given = {"ids": list(ids), "ines": ines, "keys": list(pair.keys), "born": BORN, "active": active}
            await tx.execute(_SEED_PUPILS, given)
            if school is origin:
                await seed_rows(tx, ids, ROWS_OF_A_PUPIL)
    for school in (origin, destination):
        async with world.schools.tenants.connection(school.uai) as connection:
            await connection.execute("VACUUM ANALYZE")
    return pair


async def plan(world: TransferWorld, pair: Pair) -> None:
    """Let the join know of both imports."""
    await world.take_in_events()  # the opt-ins
    facts = PostgresFacts(world.database, Projection(), SystemClock())
    now = datetime.now(UTC)
    said = [
        Fact(
            kind(
                match_key=key,
                uai=school.uai,
                pupil_id=pupil_id,
                revision=revision,
                occurred_at=now,
                source=EnrolmentSource.SIECLE,
                ine_status=IneStatus.TRUSTED,
            ),
            now,
        )
        for school, ids, kind in (
            (pair.origin, pair.leavers, PupilDeactivated),
            (pair.destination, pair.arrivals, PupilCreated),
        )
        for revision, (key, pupil_id) in enumerate(zip(pair.keys, ids, strict=True), start=10)
    ]
    await facts.take_in([facts.prepare(fact) for fact in said], ["cpro.pupil/0"])


async def move_all(world: TransferWorld, pair: Pair) -> float:
    """Seconds that the movers of one process take for the whole pair."""
    await plan(world, pair)
    async with Service(world.config, work=Work.NOTHING) as service:
        movers = [service.mover() for _ in range(world.config.concurrent_batches)]

        async def work(mover: object) -> None:
            while await mover.move_next():  # type: ignore[attr-defined]
                pass

        began = time.perf_counter()
        await asyncio.gather(*map(work, movers))
        took = time.perf_counter() - began
    ended = await world.transfers(state="completed", origin_uai=pair.origin.uai)
    assert len(ended) == len(pair.leavers), f"{len(ended)} of {len(pair.leavers)} completed"
    await _arrived(pair)
    return took


@contextmanager
def without_digests() -> Iterator[None]:
    """Rows are counted and named, their content is not looked at."""
    with mock.patch.object(record_sql, "DIGEST_OF_ROWS", "'unverified'"):
        record_sql.contents.cache_clear()
        yield
    record_sql.contents.cache_clear()


async def move_naively(world: TransferWorld, pair: Pair) -> float:
    """Pupil by pupil: COPY each table, commit, DELETE, commit. Nothing is held, verified or written down."""
    infos = await world.schools.conninfos()
    async with (
        await psycopg.AsyncConnection.connect(infos[pair.origin.uai]) as origin,
        await psycopg.AsyncConnection.connect(infos[pair.destination.uai]) as destination,
    ):
        began = time.perf_counter()
        for leaver, arrival in zip(pair.leavers, pair.arrivals, strict=True):
            for table, columns in _COLUMNS.items():
                async with (
                    origin.cursor().copy(_naive_out(table, columns, leaver, arrival)) as rows,
                    destination.cursor().copy(
                        f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
                    ) as sink,
                ):
                    async for block in rows:
                        await sink.write(block)
            await destination.commit()
            for table in reversed(_COLUMNS):
                await origin.execute(_naive_delete(table), (leaver,))
            await origin.commit()
        took = time.perf_counter() - began
    await _arrived(pair)
    return took


async def copy_plainly(world: TransferWorld, pair: Pair) -> float:
    """One binary COPY for each table from one database to the other: all rows of the pair, and nothing else."""
    infos = await world.schools.conninfos()
    async with (
        await psycopg.AsyncConnection.connect(infos[pair.origin.uai]) as origin,
        await psycopg.AsyncConnection.connect(infos[pair.destination.uai]) as destination,
    ):
        began = time.perf_counter()
        for table in ROWS_OF_A_PUPIL:
            async with (
                origin.cursor().copy(f"COPY {table} TO STDOUT (FORMAT binary)") as rows,
                destination.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as sink,
            ):
                async for block in rows:
                    await sink.write(block)
        await destination.commit()
        return time.perf_counter() - began


_COLUMNS = {
    "report": ("id", "pupil_id", "title", "period", "content", "author", "created_at", "updated_at"),
    "activity_sheet": (
        "id", "pupil_id", "title", "activity_date", "duration_hours", "content", "created_at", "updated_at",
    ),
    "assessment": (
        "id", "pupil_id", "activity_sheet_id", "skill_code", "level", "score", "comment", "assessed_on", "created_at",
    ),
    "professional_passport": (
        "id", "pupil_id", "diploma_code", "statement", "signature", "created_at", "updated_at",
    ),
    "passport_entry": ("id", "passport_id", "position", "kind", "content", "created_at"),
}  # fmt: skip


def _naive_out(table: str, columns: Sequence[str], leaver: UUID, arrival: UUID) -> sql.Composed:
    values = sql.SQL(", ").join(
        sql.SQL("{}::uuid").format(sql.Literal(arrival)) if name == "pupil_id" else sql.Identifier(name)
        for name in columns
    )
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT (FORMAT binary)").format(
        values, sql.Identifier(table), sql.SQL(_naive_where(table)).format(sql.Literal(leaver))
    )


def _naive_where(table: str) -> str:
    if table == "passport_entry":
        return "passport_id IN (SELECT id FROM professional_passport WHERE pupil_id = {}::uuid)"
    return "pupil_id = {}::uuid"


def _naive_delete(table: str) -> sql.SQL:
    return sql.SQL(f"DELETE FROM {table} WHERE {_naive_where(table).replace('{}::uuid', '%s')}")


async def _arrived(pair: Pair) -> None:
    for school, expected in ((pair.origin, 0), (pair.destination, len(pair.leavers) * ROWS)):
        counts = await school.fetch(
            "SELECT " + " + ".join(f"(SELECT count(*) FROM {table})" for table in ROWS_OF_A_PUPIL)
        )
        assert counts == [(expected,)], f"{counts} rows, {expected} expected"


async def measure_throughput(world: TransferWorld, results: Results, *, runs: int = RUNS) -> None:
    await move_all(world, await a_pair(world, 50))  # the first statements of a process are slower
    seconds: dict[str, list[float]] = {"movers": [], "no digests": [], "naive": [], "copy": []}
    for run in range(1, runs + 1):
        pairs = [await a_pair(world, PUPILS, same_ids=name == "copy") for name in seconds]
        seconds["movers"].append(await move_all(world, pairs[0]))
        with without_digests():
            seconds["no digests"].append(await move_all(world, pairs[1]))
        seconds["naive"].append(await move_naively(world, pairs[2]))
        seconds["copy"].append(await copy_plainly(world, pairs[3]))
        print(f"  run {run}: " + ", ".join(f"{name} {took[-1]:.2f} s" for name, took in seconds.items()), flush=True)
    moves = [PUPILS / took for took in seconds["movers"]]
    naive = [theirs / ours for ours, theirs in zip(seconds["movers"], seconds["naive"], strict=True)]
    copy = [plain / ours for ours, plain in zip(seconds["movers"], seconds["copy"], strict=True)]
    cost = [ours / bare for ours, bare in zip(seconds["movers"], seconds["no digests"], strict=True)]
    print(f"throughput: {PUPILS} pupils of {ROWS} rows in {len(ROWS_OF_A_PUPIL)} tables, {runs} runs")
    print(f"  movers             {_spread(moves, 0)} moves/s, {_spread([m * ROWS for m in moves], 0)} rows/s")
    print(f"  naive mover        {_spread([PUPILS / took for took in seconds['naive']], 0)} moves/s")
    print(f"  plain COPY         {_spread([PUPILS * ROWS / took for took in seconds['copy']], 0)} rows/s")
    print(f"  movers ÷ naive     {_spread(naive, 2)}")
    print(f"  movers ÷ COPY      {_spread(copy, 2)}")
    print(f"  with ÷ without digests (time) {_spread(cost, 2)}")
    results.figures |= {
        "moves_per_s": f"{statistics.median(moves):.0f}",
        "vs_naive": f"{statistics.median(naive):.2f}",
        "vs_copy": f"{statistics.median(copy):.2f}",
        "verification_cost": f"{statistics.median(cost):.2f}",
    }


@dataclass
class Arrivals:
    """Pupils who have left, each waiting for the other school's import; and what became of those who arrived."""

    world: TransferWorld
    schools: Sequence[School]
    waiting: list[tuple[School, str]] = field(default_factory=list)
    """Where each will arrive, with the INE."""
    committed_at: dict[str, float] = field(default_factory=dict)
    """By match key: when the destination's database had committed to the arrival, the second of the two events."""

    async def prepare(self, pupils: int) -> None:
        """So many leave one of the schools for another, with their records."""
        dice = random.Random(pupils)
        for _ in range(pupils):
            origin, destination = dice.sample(self.schools, 2)
            ine = new_ine()
            leaver = await origin.has(ine, records=Amounts(attachments=FILES_OF_A_PUPIL))
            async with self.world.schools.tenants.begin(origin.uai) as tx:
                rows = {table: number for table, number in ROWS_OF_A_PUPIL.items() if table != "passport_entry"}
                await seed_rows(tx, [leaver], rows)
            await origin.loses(leaver)
            self.waiting.append((destination, ine))

    async def arrive(self) -> None:
        """The next one arrives."""
        school, ine = self.waiting.pop()
        await school.has(ine)  # schools of this part do not publish by themselves
        self.committed_at[match_key_of_ine(ine, SECRET)] = time.time()
        await outbox.publish_pending(lambda: self.world.schools.tenants.begin(school.uai), self.world.schools.publisher)

    async def finished(self) -> dict[str, float]:
        """By match key, when both receipts were there."""
        async with self.world.database.begin() as tx:
            found = await tx.execute(
                "SELECT match_key, extract(epoch FROM finished_at)::float8 FROM transfer WHERE finished_at IS NOT NULL"
            )
            return dict(await found.fetchall())

    async def all_finished(self, keys: Sequence[str]) -> dict[str, float]:
        async def everybody() -> dict[str, float] | None:
            finished = await self.finished()
            return finished if set(keys) <= finished.keys() else None

        found: dict[str, float] = await eventually(everybody, within_seconds=120)
        return found

    async def milliseconds(self, keys: Sequence[str]) -> list[float]:
        finished = await self.all_finished(keys)
        return [(finished[key] - self.committed_at[key]) * 1000 for key in keys]


async def measure_latency(world: TransferWorld, results: Results) -> None:
    schools = await world.schools.opted_in(*(new_uai() for _ in range(LATENCY_SCHOOLS)))
    arrivals = Arrivals(world, schools)
    await arrivals.prepare(WARM_UP + IDLE_MOVES + SATURATING_MOVES + LOADED_MOVES)
    for school in schools:
        school.publishes = False
    with world.process("join") as join, world.process("move") as move, world.process("relay") as relay:
        for process in (join, move, relay):
            await process.start()
        for _ in range(WARM_UP):
            await arrivals.arrive()
        await arrivals.all_finished(list(arrivals.committed_at))

        idle = []
        for _ in range(IDLE_MOVES):
            await arrivals.arrive()
            key = list(arrivals.committed_at)[-1]
            idle += await arrivals.milliseconds([key])

        before, began = len(arrivals.committed_at), time.time()
        while (done := len(arrivals.committed_at) - before) < SATURATING_MOVES:
            if done - (len(await arrivals.finished()) - before) < MOST_UNDER_WAY:
                await arrivals.arrive()
        saturating = list(arrivals.committed_at)[before:]
        finished = await arrivals.all_finished(saturating)
        per_second = len(saturating) / (max(finished[key] for key in saturating) - began)

        dice, before, due = random.Random(70), len(arrivals.committed_at), time.time()
        tasks = set()
        for _ in range(LOADED_MOVES):
            due += dice.expovariate(LOAD * per_second)
            await asyncio.sleep(max(0, due - time.time()))  # when pupils arrive is the experiment
            tasks.add(asyncio.create_task(arrivals.arrive()))
        await asyncio.gather(*tasks)
        loaded = await arrivals.milliseconds(list(arrivals.committed_at)[before:])
    print(
        f"latency: {ROWS} rows and {FILES_OF_A_PUPIL} files a pupil, {LATENCY_SCHOOLS} schools,"
        " from the commit of the second event to both receipts"
    )
    print(f"  idle, {len(idle)} one by one: {_quantiles(idle)}")
    print(f"  at most {per_second:.1f} moves/s one by one; at {LOAD:.0%} of it, {len(loaded)}: {_quantiles(loaded)}")
    for name, values in (("", idle), ("loaded_", loaded)):
        ranks = statistics.quantiles(values, n=100)
        results.figures |= {f"{name}p50_ms": f"{ranks[49]:.0f}", f"{name}p99_ms": f"{ranks[98]:.0f}"}


def _quantiles(values: Sequence[float]) -> str:
    ranks = statistics.quantiles(values, n=100)
    return f"p50 {ranks[49]:.0f} ms, p90 {ranks[89]:.0f} ms, p99 {ranks[98]:.0f} ms"


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


async def measure(parts: Sequence[str]) -> Results:
    results = Results()
    measures: dict[str, Callable[[TransferWorld, Results], Awaitable[None]]] = {
        "throughput": measure_throughput,
        "latency": measure_latency,
    }
    with tempfile.TemporaryDirectory() as folder:
        servers = start_servers(Path(folder), clusters=("north", "south"))
        try:
            async with opened_world(servers.endpoints) as world:
                for part in parts:
                    await measures[part](world, results)
        finally:
            servers.stop()
    return results


if __name__ == "__main__":
    logs.configure(TelemetrySettings(log_level="warning"), service="bench-move")
    let_modules_be()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # both as in the services
        print(runner.run(measure(sys.argv[1:] or PARTS)).line())
