"""A batch is handled, then committed; whatever goes wrong, no message is lost and none is set aside for another's fault."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import psycopg
import pytest

from cpro_embedded.ports import free_ports
from cpro_platform.concurrency import end
from cpro_platform.consuming import FailureLimit, Message, TooManyFailuresError
from cpro_platform.errors import PoisonMessageError, RetryableError
from cpro_platform.kafka import OutgoingMessage
from cpro_platform.metrics import Metrics
from cpro_platform.readiness import Readiness
from cpro_test_support.consumers import Handler, commits, consuming, new_group, number_of_event
from cpro_test_support.depth import slow
from cpro_test_support.messages import OwnTopic, gate, own_topic
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import eventually

SESSION_SECONDS = 6.0  # the least that a broker allows


@pytest.fixture
async def topic(servers: Servers) -> OwnTopic:
    return await own_topic(servers.endpoints.kafka_bootstrap)


async def test_the_next_consumer_of_the_group_goes_on_after_the_last_batch(topic: OwnTopic) -> None:
    group, first, second = new_group(), Handler(), Handler()
    await topic.receives(*range(10))
    async with consuming(topic, first, group):
        await first.handles(*range(10))
        await commits(topic, group, 10)

    await topic.receives(10, 11)
    async with consuming(topic, second, group):
        await second.handles(10, 11)

    assert first.numbers == list(range(10))
    assert second.numbers == [10, 11]


async def test_nothing_is_committed_before_the_batch_is_handled(topic: OwnTopic) -> None:
    group, may_end = new_group(), asyncio.Event()

    async def take_time(_: list[int]) -> None:
        await may_end.wait()

    handler = Handler(take_time)
    await topic.receives(1, 2)
    async with consuming(topic, handler, group):
        await handler.begins()
        committed_meanwhile = await topic.committed(group)
        may_end.set()
        await commits(topic, group, 2)

    assert committed_meanwhile == 0


async def test_batches_are_no_larger_than_asked_and_keep_the_order_of_the_partition(topic: OwnTopic) -> None:
    handler = Handler()
    await topic.receives(*range(50))

    async with consuming(topic, handler, new_group(), batch_size=7):
        await handler.handles(*range(50))

    assert handler.numbers == list(range(50))
    assert max(map(len, handler.done)) == 7


async def test_the_next_batch_is_prepared_while_the_one_before_is_handled(topic: OwnTopic) -> None:
    prepared: list[int] = []
    may_end = asyncio.Event()

    def prepare(message: Message) -> Message:
        prepared.append(number_of_event(message))
        return message

    async def take_time(_: list[int]) -> None:
        await may_end.wait()

    async def two_batches() -> bool | None:
        return True if prepared == [0, 1, 2, 3] else None

    async def seen() -> object:
        return prepared

    handler = Handler(take_time)
    await topic.receives(0, 1, 2, 3)
    async with consuming(topic, handler, new_group(), batch_size=2, prepare=prepare):
        await eventually(two_batches, seen)
        handled_meanwhile = list(handler.done)
        may_end.set()
        await handler.handles(0, 1, 2, 3)

    assert handled_meanwhile == []
    assert handler.begun[0] == [0, 1]
    assert handler.numbers == [0, 1, 2, 3]


async def test_what_handle_is_given_is_what_was_prepared_of_each_message(topic: OwnTopic) -> None:
    group = new_group()
    handled: list[str] = []

    async def handle(words: Sequence[str]) -> None:
        if len(words) > 1:
            raise PoisonMessageError("one at a time")  # so that the halves are of prepared messages too
        handled.extend(words)

    def in_words(message: Message) -> str:
        return f"number {number_of_event(message)}"

    await topic.receives(7, 8, 9)
    async with consuming(topic, handle, group, prepare=in_words):
        await commits(topic, group, 3)

    assert handled == ["number 7", "number 8", "number 9"]


async def test_a_batch_that_was_not_committed_comes_again(topic: OwnTopic) -> None:
    group, never = new_group(), asyncio.Event()

    async def never_end(_: list[int]) -> None:
        await never.wait()

    stuck, successor = Handler(never_end), Handler()
    await topic.receives(1, 2, 3)
    async with consuming(topic, stuck, group, revocation_grace_seconds=0):
        await stuck.begins()

    async with consuming(topic, successor, group):
        await successor.handles(1, 2, 3)

    assert (stuck.cancelled, stuck.done) == (1, [])


async def test_a_consumer_that_is_stopped_finishes_and_commits_its_batch_first(topic: OwnTopic) -> None:
    group, may_end = new_group(), asyncio.Event()

    async def take_time(_: list[int]) -> None:
        await may_end.wait()

    handler = Handler(take_time)
    await topic.receives(1, 2, 3)
    async with consuming(topic, handler, group) as task:
        await handler.begins()
        task.cancel()
        may_end.set()
        await asyncio.wait({task})

    assert task.cancelled()
    assert handler.numbers == [1, 2, 3]
    assert await topic.committed(group) == 3


async def test_a_consumer_that_is_told_to_stop_again_and_again_still_commits_its_batch_and_leaves_the_group(
    topic: OwnTopic,
) -> None:
    group, may_end = new_group(), asyncio.Event()

    async def take_time(_: list[int]) -> None:
        await may_end.wait()

    handler = Handler(take_time)
    await topic.receives(1, 2, 3)
    async with consuming(topic, handler, group) as task:
        await handler.begins()
        stopping = asyncio.create_task(end({task}, told_again_seconds=0.02))
        await asyncio.sleep(0.2)
        assert not stopping.done()
        may_end.set()
        await stopping

    assert handler.numbers == [1, 2, 3]
    assert await topic.committed(group) == 3
    assert not (await topic.members(group))[1]


async def test_it_shows_how_many_messages_wait_and_what_became_of_the_others(topic: OwnTopic) -> None:
    group, metrics, may_go_on = new_group(), Metrics(), asyncio.Event()

    async def refuse_two(numbers: list[int]) -> None:
        if numbers == [2]:
            raise PoisonMessageError("two")
        if 2 in numbers:
            raise LookupError
        if 4 in numbers:
            await may_go_on.wait()

    handler = Handler(refuse_two)
    await topic.receives(1, 2, 3)
    async with consuming(topic, handler, group, metrics=metrics):
        await commits(topic, group, 3)
        handled = metrics.render().decode()
    await topic.receives(4, 5)
    async with consuming(topic, handler, group, metrics=metrics):
        lag = f'cpro_consumer_lag_messages{{group="{group}",partition="0",topic="{topic.name}"}} 2.0'
        await eventually(lambda: _shows(metrics, lag))
        may_go_on.set()

    assert f'cpro_consumer_messages_total{{group="{group}",outcome="handled"}} 2.0' in handled
    assert f'cpro_consumer_messages_total{{group="{group}",outcome="set_aside"}} 1.0' in handled


@pytest.mark.parametrize(
    "error",
    [RetryableError(), psycopg.OperationalError("gone"), psycopg.errors.SerializationFailure(), ConnectionError()],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_away_is_waited_for_and_nothing_is_committed_or_set_aside(
    topic: OwnTopic, error: Exception
) -> None:
    group, readiness, back = new_group(), Readiness(), asyncio.Event()

    async def need_it(_: list[int]) -> None:
        if not back.is_set():
            raise error

    handler = Handler(need_it)
    await topic.receives(1, 2, 3)
    async with consuming(topic, handler, group, readiness=readiness, failure_limit=FailureLimit(in_a_row=1)):
        await handler.begins(3)
        not_ready = await readiness.missing()
        committed_meanwhile = await topic.committed(group)
        back.set()
        await commits(topic, group, 3)

    assert not_ready == {group: type(error).__name__}
    assert committed_meanwhile == 0
    assert handler.done == [[1, 2, 3]]
    assert await topic.dead_letters() == []
    assert await readiness.missing() == {}


async def test_a_run_of_failures_stops_the_consumer_and_commits_nothing_of_the_batch(topic: OwnTopic) -> None:
    """A bad deployment must not empty a topic into the dead letters."""
    group, readiness = new_group(), Readiness()

    async def be_broken(_: list[int]) -> None:
        raise KeyError("a bug of ours")

    await topic.receives(*range(50))
    async with consuming(
        topic, Handler(be_broken), group, readiness=readiness, failure_limit=FailureLimit(in_a_row=5)
    ) as task:
        await asyncio.wait({task}, timeout=20)

    assert isinstance(task.exception(), TooManyFailuresError)
    assert await topic.committed(group) == 0
    assert len(await topic.dead_letters()) == 4
    assert await readiness.missing() == {group: "too_many_failures"}


async def test_a_large_share_of_failures_stops_the_consumer_too(topic: OwnTopic) -> None:
    async def dislike_odd(numbers: list[int]) -> None:
        if any(number % 5 for number in numbers):
            raise KeyError("four in five")

    await topic.receives(*range(100))
    async with consuming(
        topic, Handler(dislike_odd), new_group(), failure_limit=FailureLimit(in_a_row=10, share=0.5, window=20)
    ) as task:
        await asyncio.wait({task}, timeout=20)

    assert isinstance(task.exception(), TooManyFailuresError)
    assert len(await topic.dead_letters()) < 20


async def test_failures_here_and_there_never_stop_the_consumer(topic: OwnTopic) -> None:
    """Neither those of the handler nor messages that can't be read: a run is of messages that follow each other."""
    group = new_group()
    unreadable = OutgoingMessage(topic.name, b"one", [], b"{")

    async def dislike_some(numbers: list[int]) -> None:
        if any(number % 10 == 0 for number in numbers):
            raise KeyError("one in ten")

    handler = Handler(dislike_some)
    good = iter(topic.envelopes(*range(1, 61)))
    messages = [unreadable if n % 6 == 0 else OutgoingMessage.of(next(good)) for n in range(72)]
    await topic.receives_raw(messages)
    async with consuming(topic, handler, group, failure_limit=FailureLimit(in_a_row=4)) as task:
        await commits(topic, group, 72)
        assert not task.done()

    assert handler.numbers == [number for number in range(1, 61) if number % 10]
    assert len(await topic.dead_letters()) == 12 + 6


@slow
async def test_a_batch_longer_than_the_session_and_the_poll_interval_keeps_the_membership(topic: OwnTopic) -> None:
    group = new_group()
    began = time.monotonic()

    async def take_long(_: list[int]) -> None:
        nonlocal began
        began = time.monotonic()
        await asyncio.sleep(SESSION_SECONDS + 1)

    handler = Handler(take_long)
    await topic.receives(1, 2)
    async with consuming(topic, handler, group, session_timeout_seconds=SESSION_SECONDS, max_poll_interval_seconds=2):
        await handler.begins()
        at_first = await topic.members(group)
        await handler.handles(1, 2)
        in_the_end = await topic.members(group)
        await commits(topic, group, 2)

    assert time.monotonic() - began > SESSION_SECONDS
    assert handler.begun == [[1, 2]]
    assert at_first == in_the_end
    assert (in_the_end[0], len(in_the_end[1])) == ("Stable", 1)


async def test_what_comes_while_a_long_batch_is_kept_alive_is_not_lost(servers: Servers) -> None:
    """Keeping the membership means polling; what a poll brings must not vanish."""
    topic = await own_topic(servers.endpoints.kafka_bootstrap, partitions=3)
    may_end = asyncio.Event()

    async def take_time(_: list[int]) -> None:
        await may_end.wait()

    handler = Handler(take_time)
    await topic.receives_in_partition(0, 0)
    async with consuming(topic, handler, new_group(), max_poll_interval_seconds=0.3, batch_size=5):
        await handler.begins()
        for partition in range(3):
            await topic.receives_in_partition(partition, *range(10 * partition + 1, 10 * partition + 11))
        await asyncio.sleep(1)
        may_end.set()
        await handler.handles(*range(31))

    assert Counter(handler.numbers) == Counter(range(31))
    for partition in range(3):
        of_partition = [number for number in handler.numbers if 10 * partition < number <= 10 * partition + 10]
        assert of_partition == sorted(of_partition)


async def test_a_member_joining_waits_for_the_batch_under_way_and_nothing_is_handled_twice(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aiokafka.consumer.group_coordinator")
    topic, group = await own_topic(servers.endpoints.kafka_bootstrap, partitions=4), new_group()
    may_end = asyncio.Event()

    async def take_time(_: list[int]) -> None:
        await may_end.wait()

    first, second = Handler(take_time), Handler()
    for partition in range(4):
        await topic.receives_in_partition(partition, *range(partition * 100, partition * 100 + 20))
    async with consuming(topic, first, group, batch_size=30, session_timeout_seconds=SESSION_SECONDS):
        await first.begins()
        async with consuming(topic, second, group, batch_size=30):
            await eventually(lambda: _revoking(topic, caplog))
            may_end.set()
            await _both_handle(first, second, {p * 100 + n for p in range(4) for n in range(20)})
            await commits(topic, group, 80)
            await eventually(lambda: _stable_with(topic, group, 2))
            for partition in range(4):
                await topic.receives_in_partition(partition, partition * 100 + 20)
            await _both_handle(first, second, {p * 100 + n for p in range(4) for n in range(21)})

    times = Counter(first.numbers + second.numbers)
    assert set(times.values()) == {1}
    assert first.cancelled == 0
    assert second.numbers


async def test_a_batch_that_takes_too_long_for_a_joining_member_is_abandoned_and_handled_again(
    servers: Servers,
) -> None:
    topic, group = await own_topic(servers.endpoints.kafka_bootstrap, partitions=4), new_group()
    forever = asyncio.Event()

    async def get_stuck_at_first(_: list[int]) -> None:
        if len(first.begun) == 1:
            await forever.wait()

    first, second = Handler(get_stuck_at_first), Handler()
    for partition in range(4):
        await topic.receives_in_partition(partition, *range(partition * 100, partition * 100 + 20))
    async with consuming(topic, first, group, batch_size=30, revocation_grace_seconds=0.3):
        await first.begins()
        async with consuming(topic, second, group, batch_size=30):
            await _both_handle(first, second, {p * 100 + n for p in range(4) for n in range(20)})
            await commits(topic, group, 80)

    assert first.cancelled == 1
    assert set(Counter(first.numbers + second.numbers).values()) == {1}


@slow
async def test_members_that_come_and_go_lose_no_message_and_share_the_partitions(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    topic, group = await own_topic(servers.endpoints.kafka_bootstrap, partitions=4), new_group()
    handlers = [Handler() for _ in range(3)]
    numbers = iter(range(10_000))
    expected: set[int] = set()

    async def more() -> None:
        for partition in range(4):
            some = [next(numbers) for _ in range(40)]
            expected.update(some)
            await topic.receives_in_partition(partition, *some)

    await more()
    async with consuming(topic, handlers[0], group, batch_size=10, session_timeout_seconds=SESSION_SECONDS):
        for handler in handlers[1:]:
            async with consuming(topic, handler, group, batch_size=10):
                await eventually(lambda: _stable_with(topic, group, 2))
                await more()
                await handler.begins()
        await more()
        await commits(topic, group, len(expected))

    handled = {number for handler in handlers for number in handler.numbers}
    assert handled == expected
    assert "assigned to multiple consumers" not in caplog.text


async def test_a_consumer_that_starts_before_kafka_waits_for_it(topic: OwnTopic) -> None:
    group, readiness, handler = new_group(), Readiness(), Handler()
    await topic.receives(1)
    (port,) = free_ports(1)
    async with (
        gate(topic.bootstrap, port) as kafka,
        consuming(topic, handler, group, bootstrap=kafka.address, readiness=readiness),
    ):
        await eventually(lambda: _not_ready(readiness))
        await kafka.open()
        await handler.handles(1)

    assert await readiness.missing() == {}


async def _both_handle(first: Handler, second: Handler, numbers: set[int]) -> None:
    async def all_done() -> bool | None:
        return True if numbers <= {*first.numbers, *second.numbers} else None

    async def missing() -> object:
        return sorted(numbers - {*first.numbers, *second.numbers})

    await eventually(all_done, missing)


async def _revoking(topic: OwnTopic, caplog: pytest.LogCaptureFixture) -> bool | None:
    revocations = [line for line in caplog.messages if "Revoking previously assigned partitions" in line]
    return True if any(topic.name in line for line in revocations) else None


async def _stable_with(topic: OwnTopic, group: str, members: int) -> bool | None:
    state, ids = await topic.members(group)
    return True if (state, len(ids)) == ("Stable", members) else None


async def _not_ready(readiness: Readiness) -> bool | None:
    return True if await readiness.missing() else None


async def _shows(metrics: Metrics, line: str) -> bool | None:
    return True if line in metrics.render().decode() else None
