"""What can't be handled is set aside alone and untouched, with why and where from; what it says names no person."""

import asyncio
from datetime import datetime

import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from cpro_embedded.ports import free_ports
from cpro_platform.consuming import FailureLimit, Message, TooManyFailuresError
from cpro_platform.errors import PoisonMessageError
from cpro_platform.kafka import Record
from cpro_platform.readiness import Readiness
from cpro_test_support.consumers import Handler, commits, consuming, new_group, number_of_event
from cpro_test_support.messages import OwnTopic, gate, number_of, own_topic
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import eventually


@pytest.fixture
async def topic(servers: Servers) -> OwnTopic:
    return await own_topic(servers.endpoints.kafka_bootstrap)


async def test_a_poison_message_in_a_batch_of_many_ends_alone_in_the_dead_letters(topic: OwnTopic) -> None:
    group = new_group()

    async def choke_on_37(numbers: list[int]) -> None:
        if 37 in numbers:
            raise PoisonMessageError("thirty-seven can't be")

    handler = Handler(choke_on_37)
    await topic.receives(*range(100))
    async with consuming(topic, handler, group):
        await commits(topic, group, 100)

    (letter,) = await topic.dead_letters()
    original = (await topic.records())[37]
    assert handler.numbers == [number for number in range(100) if number != 37]
    assert number_of(letter) == 37
    assert (letter.key, letter.value) == (original.key, original.value)
    assert list(letter.headers)[: len(original.headers)] == list(original.headers)
    why = _why(letter)
    assert datetime.fromisoformat(why.pop("cpro_dlq_time")).tzinfo is not None
    assert why == {
        "cpro_dlq_cause": "PoisonMessageError",
        "cpro_dlq_detail": "thirty-seven can't be",
        "cpro_dlq_group": group,
        "cpro_dlq_topic": topic.name,
        "cpro_dlq_partition": "0",
        "cpro_dlq_offset": "37",
    }


async def test_what_can_not_be_prepared_ends_alone_in_the_dead_letters_and_nobody_is_handled_twice(
    topic: OwnTopic,
) -> None:
    group, handler = new_group(), Handler()

    def choke_on_3(message: Message) -> Message:
        if number_of_event(message) == 3:
            raise PoisonMessageError("three can't be")
        return message

    await topic.receives(*range(6))
    async with consuming(topic, handler, group, prepare=choke_on_3):
        await commits(topic, group, 6)

    (letter,) = await topic.dead_letters()
    assert (letter.key, letter.value) == ((await topic.records())[3].key, (await topic.records())[3].value)
    assert _why(letter)["cpro_dlq_detail"] == "three can't be"
    assert handler.begun == handler.done
    assert handler.numbers == [0, 1, 2, 4, 5]


async def test_a_bug_in_preparing_stops_the_consumer_like_one_in_handling(topic: OwnTopic) -> None:
    group, handler = new_group(), Handler()

    def be_broken(_: Message) -> Message:
        raise KeyError("a bug of ours")

    await topic.receives(*range(50))
    async with consuming(topic, handler, group, prepare=be_broken, failure_limit=FailureLimit(in_a_row=5)) as task:
        await asyncio.wait({task}, timeout=20)

    assert isinstance(task.exception(), TooManyFailuresError)
    assert await topic.committed(group) == 0
    assert len(await topic.dead_letters()) == 4
    assert handler.begun == []


async def test_several_poison_messages_of_one_batch_are_each_set_aside(topic: OwnTopic) -> None:
    group = new_group()

    async def choke_on_some(numbers: list[int]) -> None:
        if {0, 13, 14, 63} & set(numbers):
            raise PoisonMessageError("one of those")

    handler = Handler(choke_on_some)
    await topic.receives(*range(64))
    async with consuming(topic, handler, group):
        await commits(topic, group, 64)

    assert sorted(map(number_of, await topic.dead_letters())) == [0, 13, 14, 63]
    assert handler.numbers == [number for number in range(64) if number not in {0, 13, 14, 63}]


async def test_messages_that_are_no_event_are_set_aside_and_the_others_handled(topic: OwnTopic) -> None:
    group, handler = new_group(), Handler()
    (known,) = topic.envelopes(1)
    unreadable: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = [
        (b"k", b"{", list(known.headers())),
        (b"k", None, list(known.headers())),
        (None, known.payload(), []),
        (b"k", known.payload(), [("ce_type", None)]),
        (b"k", b'{"number": "Camille MARTIN"}', list(known.headers())),
        (b"k", known.payload(), [("ce_type", b"cpro.of.another.time.v9"), ("ce_id", b"1")]),
    ]
    await _receives(topic, unreadable)
    await topic.receives(2)

    async with consuming(topic, handler, group):
        await commits(topic, group, len(unreadable) + 1)

    letters = await topic.dead_letters()
    assert handler.numbers == [2]
    assert [(letter.key, letter.value) for letter in letters] == [(key, value) for key, value, _ in unreadable]
    assert {_why(letter)["cpro_dlq_cause"] for letter in letters} == {"UnreadableEventError"}
    assert _why(letters[4])["cpro_dlq_detail"] == f"{topic.name}.happened.v1: number: int_parsing"


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ValueError("Camille MARTIN is born on 2009-04-12"), ""),
        (psycopg.errors.UniqueViolation("Key (ine)=(123456789FJ) already exists."), "23505"),
    ],
    ids=["any error", "a driver's error"],
)
async def test_the_words_of_an_error_that_may_quote_a_pupil_are_not_repeated(
    topic: OwnTopic, error: Exception, detail: str
) -> None:
    group = new_group()

    async def fail(_: list[int]) -> None:
        raise error

    await topic.receives(1)
    async with consuming(topic, Handler(fail), group):
        await commits(topic, group, 1)

    (letter,) = await topic.dead_letters()
    assert _why(letter)["cpro_dlq_cause"] == type(error).__name__
    assert _why(letter)["cpro_dlq_detail"] == detail


async def test_a_message_that_can_not_be_set_aside_is_not_left_behind(topic: OwnTopic) -> None:
    """The dead letters are away: the consumer waits for them and commits nothing meanwhile."""
    group, readiness = new_group(), Readiness()

    async def choke(_: list[int]) -> None:
        raise PoisonMessageError("never")

    await topic.receives(1)
    (port,) = free_ports(1)
    async with (
        gate(topic.bootstrap, port) as kafka,
        consuming(topic, Handler(choke), group, dead_letters_by=kafka.address, readiness=readiness),
    ):
        await eventually(lambda: _not_ready(readiness))
        assert await topic.committed(group) == 0
        assert await topic.dead_letters() == []
        await kafka.open()
        await commits(topic, group, 1)

    assert [number_of(letter) for letter in await topic.dead_letters()] == [1]
    assert await readiness.missing() == {}


async def test_a_message_set_aside_before_a_crash_is_set_aside_again_rather_than_lost(topic: OwnTopic) -> None:
    """Setting aside and committing are two steps: between them lies at least once, never not at all."""
    group = new_group()

    async def choke_on_1(numbers: list[int]) -> None:
        if numbers == [2]:
            raise ConnectionError
        if 1 in numbers:
            raise PoisonMessageError("never")

    stuck = Handler(choke_on_1)
    await topic.receives(1, 2)
    async with consuming(topic, stuck, group, revocation_grace_seconds=0):
        await eventually(lambda: _waits_at_2(stuck))
    after_the_crash = Handler()
    async with consuming(topic, after_the_crash, group):
        await commits(topic, group, 2)

    assert [number_of(letter) for letter in await topic.dead_letters()] == [1]
    assert after_the_crash.numbers == [1, 2]


async def _receives(
    topic: OwnTopic, messages: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=topic.bootstrap)
    await producer.start()
    try:
        for key, value, headers in messages:
            await producer.send_and_wait(topic.name, value, key, headers=headers)
    finally:
        await producer.stop()


def _why(letter: Record) -> dict[str, str]:
    return {name: value.decode() for name, value in letter.headers if name.startswith("cpro_dlq_")}


async def _not_ready(readiness: Readiness) -> bool | None:
    return True if await readiness.missing() else None


async def _waits_at_2(handler: Handler) -> bool | None:
    return True if [2] in handler.begun else None
