"""The join: events a second, from messages on the topic to committed offsets, beside two stream processors.

Run: `make bench-join` (less than ten minutes). 200,000 events of 100,000 pupils in 200 schools, all opted in; a quarter
of the pupils leaves one school and arrives at another, so 25,000 transfers are planned. Same broker, messages,
partitions and machine for all; each run is a process of its own with a group, a database or a state folder of its own,
and they take turns. The clock starts when the first message is handled and stops when the offsets of all are committed.

- ours: the service's consumer and projection; an event counts once it is committed in PostgreSQL (fsync on).
- quixstreams: `quixstreams_join.py`; RocksDB beside a changelog topic, at least once, commits each half second.
- kafka_streams: `kafka_streams/`; the same in Java, two threads.
- bare_sql: one upsert and one INSERT … SELECT a batch, decoded before the clock starts: no Kafka, locks or outbox.

A change of an opt-in finds the pupils who waited for it in ours only.
"""

import asyncio
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from cpro_contracts.envelope import Envelope
from cpro_contracts.establishments import RosterSource, TransferOptInChanged
from cpro_contracts.identifiers import IneStatus, MatchSecret, match_key_of_ine, uai_key
from cpro_contracts.pupils import EnrolmentSource, PupilCreated, PupilDeactivated, PupilEvent, PupilReactivated
from cpro_contracts.topics import Topic
from cpro_embedded.kafka_jars import java
from cpro_platform import logs, migrations
from cpro_platform.clock import SystemClock
from cpro_platform.config import TelemetrySettings
from cpro_platform.consuming import Consumer
from cpro_platform.database import Database
from cpro_platform.dead_letters import DeadLetters
from cpro_platform.kafka import EventPublisher, OutgoingMessage, ensure_topics
from cpro_platform.process import let_modules_be
from cpro_test_support.schools import fresh_database
from cpro_test_support.servers import Servers, start_servers
from cpro_transfer.adapters.projection import PostgresFacts, PreparedFact, Projection
from cpro_transfer.bootstrap import MIGRATIONS
from cpro_transfer.config import Config
from cpro_transfer.handlers.joining import PreparedEvent, on_events, prepare_event

PUPILS, SCHOOLS, RUNS = int(os.environ.get("PUPILS", "100000")), 200, int(os.environ.get("RUNS", "5"))
PUPIL_TOPIC, ESTABLISHMENT_TOPIC, PLANNED_TOPIC = "bench.pupil", "bench.establishment", "bench.planned"
BATCH = Config.model_fields["join_batch_messages"].default
SINGLE_EVENTS = 60
CACHE = Path(__file__).parents[1] / ".cache" / "bench-join"
_MORNING = datetime(2026, 9, 1, 8, tzinfo=UTC)
_SECRET = MatchSecret(1, b"a secret for benchmarks, of 32 b.")
_DEADLINE_SECONDS = 180.0


def opt_ins() -> list[TransferOptInChanged]:
    return [
        TransferOptInChanged(
            uai=uai, enabled=True, roster_source=RosterSource.SIECLE, revision=1, occurred_at=_MORNING
        )
        for uai in uais()
    ]  # fmt: skip


def uais() -> list[str]:
    return [f"{number:07d}{uai_key(number)}" for number in range(9_300_000, 9_300_000 + SCHOOLS)]


def pupil_events() -> Iterator[PupilEvent]:
    """Every pupil is created; then half of them leave, and of these one half comes back and one arrives elsewhere."""
    dice, schools, import_id = random.Random(1), uais(), uuid4()
    revisions = dict.fromkeys(schools, 1)
    ids: dict[tuple[str, int], UUID] = defaultdict(lambda: UUID(int=dice.getrandbits(128), version=4))

    def event(kind: type[PupilEvent], uai: str, number: int, *, of_day: int) -> PupilEvent:
        revisions[uai] += 1
        return kind(
            match_key=match_key_of_ine(f"{number:09d}AA", _SECRET), uai=uai, pupil_id=ids[uai, number],
            revision=revisions[uai], occurred_at=_time_of_import(uai, of_day), source=EnrolmentSource.SIECLE,
            ine_status=IneStatus.TRUSTED, import_id=import_id,
        )  # fmt: skip

    home = {number: schools[number * SCHOOLS // PUPILS] for number in range(PUPILS)}
    for number, uai in home.items():
        yield event(PupilCreated, uai, number, of_day=1)
    changing = dice.sample(range(PUPILS), PUPILS // 2)
    second: list[tuple[str, type[PupilEvent], int]] = []
    for place, number in enumerate(changing):
        second.append((home[number], PupilDeactivated, number))
        if place % 2:
            second.append((home[number], PupilReactivated, number))
        else:
            second.append((dice.choice([uai for uai in schools if uai != home[number]]), PupilCreated, number))
    # School by school, as imports publish them: which half comes first is chance.
    for uai, kind, number in sorted(second, key=lambda said: said[0]):
        yield event(kind, uai, number, of_day=2)


def _time_of_import(uai: str, day: int) -> datetime:
    """Each school imports once a day, at a time of its own."""
    return _MORNING + timedelta(days=day, seconds=int(uai[4:7]), microseconds=123_456)


TOTAL = 2 * PUPILS
PLANNED = PUPILS // 4


def message(event: PupilEvent | TransferOptInChanged, topic: str) -> OutgoingMessage:
    envelope = Envelope(uuid4(), "/benchmark", event.occurred_at, event)
    return OutgoingMessage(topic, event.key().encode(), envelope.headers(), envelope.payload())


async def produce(bootstrap: str) -> None:
    wanted = [Topic(PUPIL_TOPIC, 12, 10**9), Topic(ESTABLISHMENT_TOPIC, 6, None)]
    await ensure_topics(bootstrap, wanted)
    publisher = EventPublisher(bootstrap, client_id="benchmark", request_timeout_seconds=60)
    await publisher.publish([message(event, ESTABLISHMENT_TOPIC) for event in opt_ins()])
    waiting: list[OutgoingMessage] = []
    for event in pupil_events():
        waiting.append(message(event, PUPIL_TOPIC))
        if len(waiting) == 5_000:
            await publisher.publish(waiting)
            waiting = []
    await publisher.publish(waiting)
    await publisher.stop()


@dataclass
class Bench:
    """The servers, and a folder for what the peers keep."""

    servers: Servers
    folder: Path

    @property
    def bootstrap(self) -> str:
        return self.servers.endpoints.kafka_bootstrap

    async def database(self) -> str:
        url = await fresh_database(self.servers.endpoints, "bench_join")
        await asyncio.to_thread(migrations.upgrade, url, MIGRATIONS)
        return url

    async def until_committed(self, group: str, process: "asyncio.subprocess.Process") -> float:
        """When the offsets of all pupils' events are committed."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                while await committed(admin, group) < TOTAL:
                    assert process.returncode is None, f"{group} has ended"
                    await asyncio.sleep(0.05)
            return time.time()
        finally:
            await admin.close()

    async def timed(self, group: str, *command: str) -> float:
        """Events a second of one run, from the first message handled to the last offset committed."""
        log = (self.folder / f"{group}.log").open("wb")
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
        try:
            assert process.stdout
            async with asyncio.timeout(_DEADLINE_SECONDS):
                while not (line := await process.stdout.readline()).startswith(b"begun "):
                    assert line, f"{command[0]} did not begin: see {log.name}"
            ended = await self.until_committed(group, process)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            log.close()
        return TOTAL / (ended - float(line.split()[1]) / 1000)

    async def ours(self) -> float:
        url, group = await self.database(), new_group()
        rate = await self.timed(group, sys.executable, __file__, "ours", self.bootstrap, group, url)
        assert await planned_in(url) == PLANNED
        return rate

    async def bare_sql(self) -> float:
        url = await self.database()
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "bare_sql", url, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        assert await planned_in(url) == PLANNED
        return TOTAL / float(printed.split()[-1])

    async def quixstreams(self) -> float:
        script = str(Path(__file__).with_name("quixstreams_join.py"))
        return await self._peer(lambda group: (str(CACHE / "venv/bin/python"), script, self.bootstrap, group))

    async def kafka_streams(self) -> float:
        classes = f"{CACHE / 'classes'}:{CACHE / 'jars'}/*"
        return await self._peer(
            lambda group: (java(), "-Xmx1g", "-cp", classes, "cpro.benchmark.Join", self.bootstrap, group)
        )

    async def _peer(self, command: Callable[[str], tuple[str, ...]]) -> float:
        group = new_group()
        planned = f"{PLANNED_TOPIC}.{group}"
        await ensure_topics(self.bootstrap, [Topic(planned, 12, 10**9)])
        state = str(self.folder / group)
        rate = await self.timed(group, *command(group), state, PUPIL_TOPIC, ESTABLISHMENT_TOPIC, planned)
        found = await messages_on(self.bootstrap, planned)
        assert found == PLANNED, f"{found} instead of {PLANNED}"
        return rate

    async def latency_ms(self) -> list[float]:
        """Of single arrivals, with nothing else to do: from the call that publishes to the commit of the plan."""
        url, group = await self.database(), new_group()
        publisher = EventPublisher(self.bootstrap, client_id="benchmark")
        process = await asyncio.create_subprocess_exec(sys.executable, __file__, "ours", self.bootstrap, group, url)
        waits: list[float] = []
        try:
            await self.until_committed(group, process)
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as session:
                await session.execute("LISTEN transfer_due")
                origin, destination = uais()[:2]
                for number in range(SINGLE_EVENTS):
                    leaves, arrives = (
                        single(group, kind, uai, number)
                        for kind, uai in ((PupilDeactivated, origin), (PupilCreated, destination))
                    )
                    await publisher.publish([message(leaves, PUPIL_TOPIC)])
                    await asyncio.sleep(0.02)
                    began = time.perf_counter()
                    await publisher.publish([message(arrives, PUPIL_TOPIC)])
                    async for _ in session.notifies(timeout=30, stop_after=1):
                        waits.append((time.perf_counter() - began) * 1000)
        finally:
            process.terminate()
            await process.wait()
            await publisher.stop()
        assert len(waits) >= SINGLE_EVENTS  # some come twice
        return waits


def single(name: str, kind: type[PupilEvent], uai: str, number: int) -> PupilEvent:
    return kind(
        match_key=f"ine:1:{name}-{number}", uai=uai, pupil_id=uuid4(), revision=10_000_000 + number,
        occurred_at=_MORNING, source=EnrolmentSource.SIECLE, ine_status=IneStatus.TRUSTED,
    )  # fmt: skip


def new_group() -> str:
    return f"bench-{uuid4().hex[:8]}"


async def committed(admin: AIOKafkaAdminClient, group: str) -> int:
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    except KafkaError:
        return 0  # the group is not there yet
    return sum(max(0, said.offset) for place, said in offsets.items() if place.topic == PUPIL_TOPIC)


async def messages_on(bootstrap: str, topic: str) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(12)])
        return sum(ends.values())
    finally:
        await consumer.stop()


async def planned_in(url: str) -> int:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute("SELECT count(*) FROM transfer WHERE state = 'planned'")).fetchone()
        assert row
        return int(row[0])


async def run_ours(bootstrap: str, group: str, url: str) -> None:
    """The service's join, alone in this process, until it is terminated."""
    begun = False
    let_modules_be()  # as the service's processes do
    async with AsyncExitStack() as opened:
        database = Database(url, name="bench-join")
        await database.open()
        opened.push_async_callback(database.close)
        publisher = EventPublisher(bootstrap, client_id="benchmark")
        opened.push_async_callback(publisher.stop)
        facts = PostgresFacts(database, Projection(), SystemClock())

        async def handle(events: Sequence[PreparedEvent[PreparedFact]]) -> None:
            nonlocal begun
            if not begun:
                begun = True
                print(f"begun {time.time() * 1000:.0f}", flush=True)
            await on_events(events, facts)

        await Consumer(
            bootstrap,
            group=group,
            topics=[PUPIL_TOPIC, ESTABLISHMENT_TOPIC],
            prepare=partial(prepare_event, facts=facts),
            handle=handle,
            dead_letters=DeadLetters(publisher, group=group, clock=SystemClock()),
            batch_size=BATCH,
        ).run()


_BARE_UPSERT = """
INSERT INTO enrolment AS known (match_key, uai, pupil_id, active, withdrawn, source, ine_status, revision, occurred_at,
    event_time)
SELECT match_key, uai, pupil_id, active, false, 'siecle', 'trusted', revision, now(), now()
FROM unnest(%s::text[], %s::text[], %s::uuid[], %s::boolean[], %s::bigint[])
    AS said (match_key, uai, pupil_id, active, revision)
ON CONFLICT (match_key, uai) DO UPDATE SET active = EXCLUDED.active, pupil_id = EXCLUDED.pupil_id,
    revision = EXCLUDED.revision WHERE EXCLUDED.revision > known.revision
"""
_BARE_PLAN = """
INSERT INTO transfer (match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai, destination_pupil_id,
    origin_opt_in_revision, called_for_at, state, due_at)
SELECT o.match_key, o.uai, o.pupil_id, o.revision, d.uai, d.pupil_id, 1, now(), 'planned', now()
FROM unnest(%s::text[]) AS touched (match_key)
CROSS JOIN LATERAL (SELECT * FROM enrolment e WHERE e.match_key = touched.match_key AND NOT e.active OFFSET 0) o
CROSS JOIN LATERAL (SELECT * FROM enrolment e WHERE e.match_key = touched.match_key AND e.active OFFSET 0) d
JOIN establishment here ON here.uai = o.uai AND here.opted_in
JOIN establishment there ON there.uai = d.uai AND there.opted_in
ON CONFLICT DO NOTHING
"""


def run_bare_sql(url: str) -> None:
    """The statements alone, on batches that are ready: what the join in PostgreSQL can come to at best."""
    batches = []
    waiting: dict[tuple[str, str], PupilEvent] = {}
    for number, event in enumerate(pupil_events(), 1):
        waiting[event.match_key, event.uai] = event
        if number % BATCH == 0 or number == TOTAL:
            rows = [_bare_row(event) for event in sorted(waiting.values(), key=lambda event: event.match_key)]
            columns = ["{" + ",".join(column) + "}" for column in zip(*rows, strict=True)]
            batches.append((columns, "{" + ",".join({row[0] for row in rows}) + "}"))
            waiting = {}
    with psycopg.connect(url, autocommit=True) as connection:
        for uai in uais():
            connection.execute("INSERT INTO establishment (uai, opted_in) VALUES (%s, true)", (uai,))
        began = time.perf_counter()
        for columns, match_keys in batches:
            with connection.transaction():
                connection.execute(_BARE_UPSERT, columns)
                connection.execute(_BARE_PLAN, (match_keys,))
        print(f"took {time.perf_counter() - began}")


def _bare_row(event: PupilEvent) -> tuple[str, ...]:
    active = "f" if isinstance(event, PupilDeactivated) else "t"
    return event.match_key, event.uai, event.pupil_id.hex, active, str(event.revision)


def _processor_seconds() -> float:
    """Of the runs' own processes so far; not of the broker and PostgreSQL."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f}, {len(values)} runs)"


async def main() -> None:
    logs.configure(TelemetrySettings(log_level="error"), service="benchmark")
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    rates: dict[str, list[float]] = {name: [] for name in ("ours", "quixstreams", "kafka_streams", "bare_sql")}
    with tempfile.TemporaryDirectory() as folder:
        servers = start_servers(Path(folder) / "servers", clusters=("main",))
        try:
            bench = Bench(servers, Path(folder))
            await produce(bench.bootstrap)
            for _ in range(RUNS):
                for name, values in rates.items():
                    before = _processor_seconds()
                    values.append(await getattr(bench, name)())
                    spent = (_processor_seconds() - before) / TOTAL * 1e6
                    print(
                        f"  {name:<14} {values[-1]:10,.0f} events/s, {spent:3.0f} µs of its process an event,"
                        f" load {os.getloadavg()[0]:.1f}",
                        flush=True,
                    )
            waits = await bench.latency_ms()
        finally:
            servers.stop()
    print(f"\n{TOTAL:,} events, {PLANNED:,} transfers planned")
    for name, values in rates.items():
        print(f"  {name:<14} {spread(values)} events/s")
    print(f"  a single event, until it is planned: p50 {statistics.median(waits):.1f} ms, worst {max(waits):.1f} ms")
    ours = statistics.median(rates["ours"])
    ratios = {name: ours / statistics.median(rates[name]) for name in ("quixstreams", "kafka_streams")}
    print(
        f"\nbench-join: events_per_s={ours:.0f} vs_quixstreams={ratios['quixstreams']:.2f}"
        f" vs_kafka_streams={ratios['kafka_streams']:.2f}"
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ours", bootstrap, group, url]:
            uvloop.run(run_ours(bootstrap, group, url))
        case ["bare_sql", url]:
            run_bare_sql(url)
        case _:
            asyncio.run(main())
