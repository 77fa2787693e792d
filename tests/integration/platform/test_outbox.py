"""Events are on Kafka if and only if the change that they tell of was committed."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from aiokafka.errors import KafkaConnectionError

from cpro_contracts.envelope import Envelope
from cpro_embedded.ports import free_ports
from cpro_platform import outbox, tracing
from cpro_platform.clock import SettableClock, SystemClock
from cpro_platform.database import Database
from cpro_platform.kafka import EventPublisher
from cpro_platform.outbox import Relay
from cpro_platform.readiness import Readiness
from cpro_platform.transience import is_transient
from cpro_test_support.messages import OwnTopic, gate, own_topic
from cpro_test_support.schools import fresh_database
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import eventually

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
Add = Callable[..., Awaitable[None]]


@pytest.fixture
async def topic(servers: Servers) -> OwnTopic:
    return await own_topic(servers.endpoints.kafka_bootstrap)


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    opened = Database(await fresh_database(servers.endpoints, "outbox"), name="test-outbox", max_connections=8)
    await opened.open()
    async with opened.begin() as tx:
        await tx.execute(outbox.CREATE_TABLE)
    yield opened
    await opened.close()


@pytest.fixture
async def publisher(servers: Servers) -> AsyncIterator[EventPublisher]:
    opened = EventPublisher(servers.endpoints.kafka_bootstrap, client_id="tests")
    yield opened
    await opened.stop()


async def test_events_of_a_committed_change_are_published_and_those_of_a_rolled_back_one_never(
    database: Database, topic: OwnTopic, publisher: EventPublisher
) -> None:
    class ChangedTheirMindError(Exception):
        pass

    await _add(database, topic, 1, 2)
    with suppress(ChangedTheirMindError):
        async with database.begin() as tx:
            await outbox.add(tx, topic.events(3), source="/tests", clock=SystemClock())
            raise ChangedTheirMindError
    await _add(database, topic, 4)

    published = await outbox.publish_pending(database.begin, publisher)

    assert published == 3
    assert await topic.numbers() == [1, 2, 4]
    assert await _pending(database) == 0
    assert await outbox.publish_pending(database.begin, publisher) == 0


async def test_an_event_travels_with_its_row_id_its_time_and_the_trace_of_its_cause(
    database: Database, topic: OwnTopic, publisher: EventPublisher
) -> None:
    written_at = datetime(2026, 9, 14, 18, 2, 12, 482913, tzinfo=UTC)
    with tracing.continued_from(TRACE):
        async with database.begin() as tx:
            await outbox.add(tx, topic.events(1, key="0752387M"), source="/tests", clock=SettableClock(written_at))

    await outbox.publish_pending(database.begin, publisher)

    (record,) = await topic.records()
    read = Envelope.read(record.headers, record.value)
    async with database.begin() as tx:
        (row,) = await (await tx.execute("SELECT id, published_at IS NOT NULL FROM outbox")).fetchall()
    assert read == Envelope(row[0], "/tests", written_at, topic.event(number=1, goes_by="0752387M"), TRACE)
    assert record.key == b"0752387M"
    assert row[1]
    assert dict(read.headers()) == dict(record.headers)


async def test_events_are_published_in_the_order_of_their_positions(
    database: Database, topic: OwnTopic, publisher: EventPublisher
) -> None:
    """Over several batches of the relay; one partition keeps the order."""
    for start in range(0, 2_500, 500):
        await _add(database, topic, *range(start, start + 500))

    published = await outbox.publish_pending(database.begin, publisher)

    assert published == 2_500
    assert await topic.numbers() == list(range(2_500))


async def test_the_relay_wakes_by_the_notification_and_does_not_wait_for_its_poll(
    database: Database, topic: OwnTopic, publisher: EventPublisher
) -> None:
    async with _running(Relay(database, publisher)):
        await _add(database, topic, 1)
        await eventually(lambda: _all_published(database))

        started = time.monotonic()
        await _add(database, topic, 2)
        await eventually(lambda: _all_published(database))
        took = time.monotonic() - started

    assert took < outbox._POLL_SECONDS / 2
    assert await topic.numbers() == [1, 2]


async def test_an_event_whose_notification_was_lost_is_found_by_the_poll(
    database: Database, topic: OwnTopic, publisher: EventPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_POLL_SECONDS", 0.2)
    async with _running(Relay(database, publisher)):
        await _add(database, topic, 1)
        await eventually(lambda: _all_published(database))

        async with database.begin() as tx:
            await outbox.add(tx, topic.events(2), source="/tests", clock=SystemClock(), wake_relay=False)

        await eventually(lambda: _all_published(database))


async def test_while_kafka_is_away_the_rows_stay_and_the_same_relay_publishes_them_when_it_is_back(
    database: Database, topic: OwnTopic
) -> None:
    readiness = Readiness()
    (port,) = free_ports(1)
    async with gate(topic.bootstrap, port) as kafka:
        away = EventPublisher(kafka.address, client_id="tests")
        await _add(database, topic, 1)
        with pytest.raises(KafkaConnectionError) as failure:
            await outbox.publish_pending(database.begin, away)
        assert is_transient(failure.value)

        async with _running(Relay(database, away, readiness)):
            await eventually(lambda: _not_ready(readiness))
            await _add(database, topic, 2)
            assert await _pending(database) == 2

            await kafka.open()
            await eventually(lambda: _all_published(database))
            await eventually(lambda: _ready(readiness))
        await away.stop()

    assert await topic.numbers() == [1, 2]


async def test_a_relay_whose_database_connection_is_cut_listens_again(
    database: Database, topic: OwnTopic, publisher: EventPublisher
) -> None:
    async with _running(Relay(database, publisher)):
        await _add(database, topic, 1)
        await eventually(lambda: _all_published(database))
        async with database.begin() as tx:
            cut = await tx.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'test-outbox-session' AND datname = current_database()"
            )
            assert await cut.fetchall() == [(True,)]

        await _add(database, topic, 2)
        await eventually(lambda: _all_published(database))

    assert await topic.numbers() == [1, 2]


async def test_two_relays_share_the_work_of_many_writers_and_publish_each_event_once(
    database: Database, topic: OwnTopic, publisher: EventPublisher, servers: Servers
) -> None:
    second = EventPublisher(servers.endpoints.kafka_bootstrap, client_id="tests-2")
    async with _running(Relay(database, publisher)), _running(Relay(database, second)):

        async def write(writer: int) -> None:
            for number in range(25):
                first = writer * 1_000 + number * 10
                await _add(database, topic, *range(first, first + 10))

        await asyncio.gather(*map(write, range(4)))
        await eventually(lambda: _all_published(database))
    await second.stop()

    assert sorted(await topic.numbers()) == sorted(writer * 1_000 + n for writer in range(4) for n in range(250))


async def test_who_finds_nothing_left_may_say_that_everything_is_published(
    database: Database, topic: OwnTopic, servers: Servers
) -> None:
    """Two at once: the one who is second waits for the first, instead of passing over its rows."""
    await _add(database, topic, *range(3_000))
    publishers = [EventPublisher(servers.endpoints.kafka_bootstrap, client_id=f"tests-{n}") for n in range(3)]

    async def publish(by: EventPublisher) -> tuple[int, int]:
        published = await outbox.publish_pending(database.begin, by)
        return published, await _pending(database)

    outcomes = await asyncio.gather(*map(publish, publishers))
    for by in publishers:
        await by.stop()

    assert sum(published for published, _ in outcomes) == 3_000
    assert [pending for _, pending in outcomes] == [0, 0, 0]


async def test_a_crash_between_the_acknowledgement_and_the_mark_publishes_twice_at_most(
    database: Database, topic: OwnTopic, publisher: EventPublisher
) -> None:
    await _add(database, topic, *range(5))
    ids_before = await _ids(database)

    killed = await _publish_in_a_process(database.conninfo, topic.bootstrap, crash_at="outbox.published")
    pending_after_the_kill = await _pending(database)
    on_the_topic_after_the_kill = await topic.numbers()
    await outbox.publish_pending(database.begin, publisher)

    assert killed == -signal.SIGKILL
    assert pending_after_the_kill == 5
    assert on_the_topic_after_the_kill == [0, 1, 2, 3, 4]
    times = Counter(Envelope.read(record.headers, record.value).id for record in await topic.records())
    assert times == Counter(dict.fromkeys(ids_before, 2))
    assert await _pending(database) == 0


async def _publish_in_a_process(conninfo: str, bootstrap: str, *, crash_at: str) -> int:
    code = """
import asyncio, sys
from cpro_platform import outbox
from cpro_platform.database import Database
from cpro_platform.kafka import EventPublisher

async def main():
    database = Database(sys.argv[1], name="test-outbox-victim")
    await database.open()
    await outbox.publish_pending(database.begin, EventPublisher(sys.argv[2], client_id="victim"))

asyncio.run(main())
"""
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, conninfo, bootstrap,
        env=os.environ | {"CPRO_CRASH_AT": crash_at}, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(30):
        return await victim.wait()


@asynccontextmanager
async def _running(relay: Relay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _add(database: Database, topic: OwnTopic, *numbers: int) -> None:
    async with database.begin() as tx:
        await outbox.add(tx, topic.events(*numbers), source="/tests", clock=SystemClock())


async def _pending(database: Database) -> int:
    async with database.begin() as tx:
        (row,) = await (await tx.execute("SELECT count(*) FROM outbox WHERE published_at IS NULL")).fetchall()
    return int(row[0])


async def _ids(database: Database) -> list[UUID]:
    async with database.begin() as tx:
        return [row[0] for row in await (await tx.execute("SELECT id FROM outbox")).fetchall()]


async def _all_published(database: Database) -> bool | None:
    return True if await _pending(database) == 0 else None


async def _not_ready(readiness: Readiness) -> bool | None:
    return True if "relay" in await readiness.missing() else None


async def _ready(readiness: Readiness) -> bool | None:
    return None if await readiness.missing() else True
