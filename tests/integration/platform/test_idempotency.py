"""A request that is repeated under its key has its effect once, and the same answer each time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from cpro_contracts import problems
from cpro_platform.clock import SettableClock
from cpro_platform.database import Database
from cpro_platform.errors import RefusedError
from cpro_platform.idempotency import KEPT, TABLE, Answer, KeptAnswers, KeyedRequest
from cpro_test_support.schools import fresh_database
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import eventually

Act = Callable[[], Awaitable[Answer]]
REQUEST = KeyedRequest("a-caller", "button-1", (b"POST", b"/v1/things", b"", b'{"name": "one"}'))
_WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


class Things:
    """An effect that can be counted, behind an adapter that begins its own transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._numbers = count(1)

    async def make(self) -> Answer:
        number = next(self._numbers)
        async with self.database.begin() as tx:
            await tx.execute("INSERT INTO thing VALUES (%s)", (number,))
        return Answer(201, b'{"number": %d}' % number, {"Location": f"/v1/things/{number}"})

    async def made(self) -> int:
        async with self.database.begin() as tx:
            row = await (await tx.execute("SELECT count(*) FROM thing")).fetchone()
        assert row is not None
        number: int = row[0]
        return number


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    opened = Database(await fresh_database(servers.endpoints, "repeats"), name="test-repeats", max_connections=6)
    await opened.open()
    async with opened.begin() as tx:
        await tx.execute(TABLE)
        await tx.execute("CREATE TABLE thing (number int PRIMARY KEY)")
    yield opened
    await opened.close()


@pytest.fixture
def things(database: Database) -> Things:
    return Things(database)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(datetime(2026, 9, 1, 8, tzinfo=UTC))


@pytest.fixture
def kept(database: Database, clock: SettableClock) -> KeptAnswers:
    return KeptAnswers(database, clock)


async def test_a_repetition_gets_the_first_answer_to_the_byte_and_acts_no_more(
    kept: KeptAnswers, things: Things
) -> None:
    answers = [await kept.once(REQUEST, things.make) for _ in range(3)]

    assert answers == [Answer(201, b'{"number": 1}', {"Location": "/v1/things/1"})] * 3
    assert await things.made() == 1


@pytest.mark.parametrize(
    "content",
    [
        (b"POST", b"/v1/things", b"", b'{"name": "two"}'),
        (b"POST", b"/v1/others", b"", b'{"name": "one"}'),
        (b"POST", b"/v1/things", b"force=true", b'{"name": "one"}'),
        (b"POST", b"/v1/thing", b"s", b'{"name": "one"}'),
    ],
    ids=["body", "path", "query", "the-same-bytes-cut-elsewhere"],
)
async def test_another_request_under_the_same_key_is_refused_and_does_nothing(
    content: tuple[bytes, ...], kept: KeptAnswers, things: Things
) -> None:
    await kept.once(REQUEST, things.make)

    with pytest.raises(RefusedError) as refused:
        await kept.once(KeyedRequest(REQUEST.caller, REQUEST.key, content), things.make)

    assert refused.value.problem is problems.IDEMPOTENCY_KEY_REUSED
    assert await things.made() == 1


async def test_the_same_key_of_another_caller_is_another_key(kept: KeptAnswers, things: Things) -> None:
    await kept.once(REQUEST, things.make)

    theirs = await kept.once(KeyedRequest("another", REQUEST.key, REQUEST.content), things.make)

    assert theirs.body == b'{"number": 2}'
    assert await things.made() == 2


async def test_of_those_that_come_at_once_one_acts_and_all_get_its_answer(kept: KeptAnswers, things: Things) -> None:
    answers = await asyncio.gather(*(kept.once(REQUEST, things.make) for _ in range(4)))

    assert {answer.body for answer in answers} == {b'{"number": 1}'}
    assert await things.made() == 1


async def test_a_repetition_of_one_that_takes_long_is_told_to_come_back(
    kept: KeptAnswers, things: Things, database: Database
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> Answer:
        begun.set()
        await go_on.wait()
        return await things.make()

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(kept.once(REQUEST, slowly))
        await begun.wait()
        with pytest.raises(RefusedError) as refused:
            await kept.once(REQUEST, things.make)
        go_on.set()

    assert refused.value.problem is problems.IDEMPOTENCY_KEY_IN_USE
    assert refused.value.extensions["retry_after_seconds"]
    assert (await kept.once(REQUEST, things.make)) == first.result()
    assert await things.made() == 1


async def test_a_repetition_waits_for_one_that_ends_soon(kept: KeptAnswers, things: Things, database: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> Answer:
        begun.set()
        await go_on.wait()
        return await things.make()

    async def another_waits() -> bool | None:
        async with database.begin() as tx:
            return await (await tx.execute(_WAITING)).fetchone() is not None or None

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(kept.once(REQUEST, slowly))
        await begun.wait()
        second = tasks.create_task(kept.once(REQUEST, things.make))
        await eventually(another_waits)
        go_on.set()

    assert second.result() == first.result()
    assert await things.made() == 1


async def test_what_was_refused_is_not_kept_and_may_be_asked_again(kept: KeptAnswers, things: Things) -> None:
    async def refused_at_the_end() -> Answer:
        await things.make()
        raise RefusedError(problems.NOT_FOUND)

    with pytest.raises(RefusedError):
        await kept.once(REQUEST, refused_at_the_end)
    after_the_refusal = await things.made()
    await kept.once(REQUEST, things.make)

    assert after_the_refusal == 0
    assert await things.made() == 1


async def test_where_the_answer_can_not_be_kept_the_effect_does_not_stay(kept: KeptAnswers, things: Things) -> None:
    async def unkeepable() -> Answer:
        await things.make()
        return Answer(100_000, b"", {})  # no smallint

    with pytest.raises(Exception, match="out of range"):
        await kept.once(REQUEST, unkeepable)

    assert await things.made() == 0


async def test_a_part_that_is_refused_and_caught_takes_only_itself_back(kept: KeptAnswers, things: Things) -> None:
    async def two_of_three() -> Answer:
        await things.make()
        try:
            async with things.database.begin():
                await things.make()
                raise RefusedError(problems.NOT_FOUND)
        except RefusedError:
            return await things.make()

    await kept.once(REQUEST, two_of_three)

    assert await things.made() == 2


async def test_a_task_of_its_own_is_no_part_of_the_transaction(kept: KeptAnswers, things: Things) -> None:
    async def besides() -> Answer:
        await asyncio.create_task(things.make())
        raise RefusedError(problems.NOT_FOUND)

    with pytest.raises(RefusedError):
        await kept.once(REQUEST, besides)

    assert await things.made() == 1


async def test_after_its_time_a_key_is_as_good_as_new(kept: KeptAnswers, things: Things, clock: SettableClock) -> None:
    first = await kept.once(REQUEST, things.make)
    clock.advance(KEPT - timedelta(seconds=1))
    just_in_time = await kept.once(REQUEST, things.make)
    clock.advance(timedelta(seconds=1))
    too_late = await kept.once(REQUEST, things.make)

    assert just_in_time == first
    assert too_late.body == b'{"number": 2}'


async def test_expired_answers_go_when_new_ones_come(
    kept: KeptAnswers, things: Things, clock: SettableClock, database: Database
) -> None:
    for number in range(5):
        await kept.once(KeyedRequest(REQUEST.caller, f"old-{number}", REQUEST.content), things.make)
    clock.advance(KEPT)
    await kept.once(REQUEST, things.make)

    async with database.begin() as tx:
        left = await (await tx.execute("SELECT id FROM kept_answer")).fetchall()
    assert left == [(REQUEST.id,)]


async def test_where_no_new_one_comes_the_daily_job_deletes_what_has_expired_and_nothing_else(
    kept: KeptAnswers, things: Things, clock: SettableClock, database: Database
) -> None:
    await kept.once(KeyedRequest(REQUEST.caller, "old", REQUEST.content), things.make)
    clock.advance(KEPT - timedelta(hours=1))
    await kept.once(REQUEST, things.make)
    clock.advance(timedelta(hours=2))

    assert (await kept.forget_expired(), await kept.forget_expired()) == (1, 0)

    async with database.begin() as tx:
        assert await (await tx.execute("SELECT id FROM kept_answer")).fetchall() == [(REQUEST.id,)]


async def test_neither_the_key_nor_the_caller_is_written_down(
    kept: KeptAnswers, things: Things, database: Database
) -> None:
    await kept.once(KeyedRequest("marie.durand", "pour-marie", (b"secret body",)), things.make)

    async with database.begin() as tx:
        (row,) = await (await tx.execute("SELECT kept_answer::text FROM kept_answer")).fetchall()
    for told in (b"marie.durand", b"pour-marie", b"secret body"):
        assert told.decode() not in row[0]
        assert told.hex() not in row[0]
