"""What could not be handled is listed with why and where from, and goes back to its topic once, as it was."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cpro_contracts import topics
from cpro_contracts.establishments import RosterSource, TransferOptInChanged
from cpro_contracts.pupils import PupilCreated
from cpro_contracts.transfers import TransferAuthorised
from cpro_platform.clock import SettableClock, SystemClock
from cpro_platform.dead_letters import DeadLetters
from cpro_platform.kafka import OutgoingMessage, Record
from cpro_test_support.letters import PATH, TICKET, Desk, an_arrival, desk_of, message_of, new_cause, set_aside
from cpro_test_support.messages import records_of
from cpro_test_support.reconciling import answering
from cpro_test_support.replaying import join_caught_up
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually, new_uai
from cpro_transfer.adapters.dead_letters import PostgresLetters
from cpro_transfer.adapters.letter_topics import LetterReader
from cpro_transfer.bootstrap import Work

FORMER = datetime(2026, 9, 1, tzinfo=UTC)


def opt_in(uai: str, revision: int) -> TransferOptInChanged:
    return TransferOptInChanged(
        uai=uai, enabled=True, roster_source=RosterSource.SIECLE, revision=revision, occurred_at=FORMER
    )


async def enrolments(world: TransferWorld, event: PupilCreated) -> list[tuple[Any, ...]]:
    async with world.database.begin() as tx:
        rows = await tx.execute("SELECT uai, pupil_id FROM enrolment WHERE match_key = %s", (event.match_key,))
        return await rows.fetchall()


async def test_what_the_join_can_not_handle_is_listed_with_why_where_from_and_when(
    world: TransferWorld, servers: Servers
) -> None:
    uai = new_uai()
    misplaced = TransferAuthorised(
        authorisation_id=uuid4(), origin_uai=uai, origin_pupil_id=uuid4(), destination_uai=new_uai(), occurred_at=FORMER
    )
    message = message_of(misplaced)
    before = SystemClock().now()
    await world.schools.publisher.publish([OutgoingMessage(topics.PUPIL, b"k", message.headers, message.value)])

    async with desk_of(world, servers, work=Work.RELAY | Work.JOIN) as desk:

        async def listed() -> dict[str, Any] | None:
            answer = await desk.client.get(PATH, params={"topic": topics.PUPIL, "cause": "PoisonMessageError"})
            mine = [one for one in answer.json()["items"] if one["uai"] == uai]
            return mine[0] if mine else None

        letter = await eventually(listed)
        shown = (await desk.client.get(f"{PATH}/{letter['id']}")).json()

    assert letter["state"] == "waiting"
    assert letter["detail"] == f"{TransferAuthorised.type} has no place on {topics.PUPIL}"
    assert letter["group"] == world.config.join_group
    (record,) = [
        one for one in await records_of(servers.endpoints.kafka_bootstrap, topics.PUPIL) if one.value == message.value
    ]
    assert (letter["partition"], letter["offset"]) == (record.partition, record.offset)
    assert before <= datetime.fromisoformat(letter["set_aside_at"]) <= SystemClock().now()
    assert shown["fields"] == misplaced.model_dump(mode="json")
    assert {"name": "ce_type", "value": TransferAuthorised.type} in shown["headers"]
    assert len(shown["headers"]) == len(message.headers)


async def test_a_letter_goes_back_to_its_topic_as_it_was_and_then_does_its_work(
    world: TransferWorld, servers: Servers
) -> None:
    cause, event = new_cause(), an_arrival()
    message = message_of(event)
    await set_aside(world, [message], cause)

    async with desk_of(world, servers, work=Work.RELAY | Work.JOIN) as desk:
        (letter,) = await desk.waiting(cause)
        preview = await desk.replay(ids=[letter["id"]], dry_run=True)
        assert await desk.given_back(letter) == []
        replayed = await desk.replay(ids=[letter["id"]])
        (record,) = await desk.given_back(letter)
        await eventually(lambda: _some(enrolments(world, event)))
        (after,) = await desk.letters(cause)

    assert (preview.json()["left"], preview.json()["settled"]) == (1, 0)
    assert (replayed.json()["left"], replayed.json()["settled"]) == (0, 1)
    assert (record.key, record.value) == (message.key, message.value)
    assert list(record.headers)[:-1] == message.headers
    assert (after["state"], after["settled_by"], after["ticket"]) == ("replayed", "tests", TICKET)


async def test_a_letter_is_replayed_once_and_a_lost_answer_may_be_asked_for_again(
    world: TransferWorld, servers: Servers
) -> None:
    cause, request_id = new_cause(), str(uuid4())
    await set_aside(world, [message_of(an_arrival())], cause)

    async with desk_of(world, servers) as desk:
        (letter,) = await desk.waiting(cause)
        first = await desk.replay(ids=[letter["id"]], request_id=request_id)
        same = await desk.replay(ids=[letter["id"]], request_id=request_id)
        another = await desk.replay(ids=[letter["id"]])
        discarded = await desk.discard(ids=[letter["id"]], reason="too late for that")
        back = await desk.given_back(letter)

    assert (first.status_code, first.json()["settled"]) == (200, 1)
    assert (same.status_code, same.json()["settled"]) == (200, 0)
    assert (another.status_code, another.json()["code"]) == (409, "dead_letter_settled")
    assert (discarded.status_code, discarded.json()["code"]) == (409, "dead_letter_settled")
    assert len(back) == 1


async def test_two_supports_at_once_give_each_letter_back_once(world: TransferWorld, servers: Servers) -> None:
    cause = new_cause()
    await set_aside(world, [message_of(an_arrival()) for _ in range(30)], cause)

    async with desk_of(world, servers) as desk:
        letters = await desk.waiting(cause, 30)
        chosen = {"topic": topics.PUPIL, "cause": cause.__name__}
        answers = await asyncio.gather(*(desk.replay(**chosen) for _ in range(4)))
        marked = await _marks(servers, topics.PUPIL)

    assert [answer.status_code for answer in answers] == [200] * 4
    assert sum(answer.json()["settled"] for answer in answers) == 30
    assert [marked.count(letter["id"]) for letter in letters] == [1] * 30


async def test_a_replay_killed_before_it_is_noted_is_asked_for_again(world: TransferWorld, servers: Servers) -> None:
    """Kafka has it, the database does not know: it comes a second time under the same event id, never not at all."""
    cause, event = new_cause(), an_arrival()
    await set_aside(world, [message_of(event)], cause)

    async with desk_of(world, servers) as desk:
        (letter,) = await desk.waiting(cause)
        bearer = {"Authorization": f"Bearer {servers.tokens.token('tests', ['support'])}"}
        asked = {"ids": [letter["id"]], "ticket": TICKET, "dry_run": False}
        async with (
            answering(world, crash_at="letter.replayed") as (process, url),
            httpx.AsyncClient(timeout=30) as client,
        ):
            with pytest.raises(httpx.TransportError):
                await client.post(f"{url}{PATH}/replay", json=asked, headers=bearer)
            assert await process.ended() == -signal.SIGKILL
        (still,) = await desk.letters(cause)
        assert len(await desk.given_back(letter)) == 1
        again = await desk.replay(ids=[letter["id"]])
        back = await desk.given_back(letter)

    assert still["state"] == "waiting"
    assert again.json()["settled"] == 1
    assert [record.value for record in back] == [message_of(event).value] * 2
    assert len({dict(record.headers)["ce_id"] for record in back}) == 1


async def test_a_replay_that_fails_again_comes_back_as_a_letter_that_names_the_first(
    world: TransferWorld, servers: Servers
) -> None:
    cause, again = new_cause(), new_cause()
    await set_aside(world, [message_of(an_arrival())], cause)

    async with desk_of(world, servers) as desk:
        (letter,) = await desk.waiting(cause)
        await desk.replay(ids=[letter["id"]])
        (record,) = await desk.given_back(letter)
        await set_aside(world, [OutgoingMessage(record.topic, record.key, list(record.headers), record.value)], again)
        (came_back,) = await desk.waiting(again)
        await desk.replay(ids=[came_back["id"]])
        (second,) = await desk.given_back(came_back)

    assert came_back["replay_of"] == letter["id"]
    assert [name for name, _ in second.headers if name.startswith("cpro_dlq")] == ["cpro_dlq_replay_of"]


async def test_where_a_topic_keeps_the_last_of_each_key_an_older_letter_does_not_become_the_last(
    world: TransferWorld, servers: Servers
) -> None:
    cause, uai, alone = new_cause(), new_uai(), new_uai()
    outdated, newer, only = (message_of(opt_in(*said)) for said in ((uai, 5), (uai, 6), (alone, 5)))
    bootstrap = servers.endpoints.kafka_bootstrap
    await world.schools.publisher.publish([outdated, newer])
    records = [one for one in await records_of(bootstrap, topics.ESTABLISHMENT) if one.key == outdated.key]
    await _set_aside_at(world, records[0], cause)
    await set_aside(world, [only], cause, offset=0)

    async with desk_of(world, servers) as desk:
        await desk.waiting(cause, 2)
        answer = await desk.replay(topic=topics.ESTABLISHMENT, cause=cause.__name__)
        letters = {letter["uai"]: letter["state"] for letter in await desk.letters(cause)}

    after = await records_of(bootstrap, topics.ESTABLISHMENT)
    assert (answer.json()["settled"], answer.json()["superseded"], answer.json()["left"]) == (1, 1, 0)
    assert letters == {uai: "superseded", alone: "replayed"}
    assert [one.value for one in after if one.key == outdated.key][-1] == newer.value
    assert [one.value for one in after if one.key == only.key] == [only.value]


async def test_a_message_that_breaks_its_contract_is_kept_to_the_byte_and_none_of_its_values_are_shown(
    world: TransferWorld, servers: Servers
) -> None:
    cause = new_cause()
    headers = [
        ("ce_type", PupilCreated.type.encode()),
        ("ce_id", b"1"),
        ("their-own", b"Camille MARTIN"),
        ("raw", b"\x00\xff"),
    ]
    messages = [
        OutgoingMessage(topics.TRANSFER, None, headers, b'{"family_name": "MARTIN", "uai": "\xff'),
        OutgoingMessage(topics.TRANSFER, b"k", [], None),
    ]
    await set_aside(world, messages, cause)

    async with desk_of(world, servers) as desk:
        letters = await desk.waiting(cause, 2)
        shown = [(await desk.client.get(f"{PATH}/{letter['id']}")).text for letter in letters]
        await desk.replay(topic=topics.TRANSFER, cause=cause.__name__)
        back = [record for letter in letters for record in await desk.given_back(letter)]

    assert not any("MARTIN" in text or "Camille" in text for text in shown)
    assert {(record.key, record.value) for record in back} == {(one.key, one.value) for one in messages}
    assert sorted(list(record.headers)[:-1] for record in back) == sorted(one.headers for one in messages)


async def test_letters_are_listed_page_by_page_and_counted_by_topic_and_cause(
    world: TransferWorld, servers: Servers
) -> None:
    cause = new_cause()
    await set_aside(world, [message_of(an_arrival()) for _ in range(5)], cause)
    await set_aside(world, [message_of(opt_in(new_uai(), 1))], cause)

    async with desk_of(world, servers) as desk:
        everything = await desk.waiting(cause, 6)
        pages: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await desk.client.get(PATH, params={"cause": cause.__name__, "limit": "4"} | cursor)).json()
            pages.append(page)
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        await desk.discard(topic=topics.ESTABLISHMENT, cause=cause.__name__, reason="a trial")
        counts = (await desk.client.get(f"{PATH}/counts")).json()
        of_topic = (await desk.client.get(PATH, params={"cause": cause.__name__, "topic": topics.PUPIL})).json()

    assert [len(page["items"]) for page in pages] == [4, 2]
    assert [one for page in pages for one in page["items"]] == everything
    assert len(of_topic["items"]) == 5
    assert {(one["topic"], one["state"], one["number"]) for one in counts if one["cause"] == cause.__name__} == {
        (topics.PUPIL, "waiting", 5),
        (topics.ESTABLISHMENT, "discarded", 1),
    }


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"ids": [str(uuid4())]}, 404, "dead_letter_unknown"),
        ({"ids": []}, 422, "invalid_request"),
        ({"topic": topics.PUPIL}, 422, "invalid_request"),
        ({"ids": [str(uuid4())], "topic": topics.PUPIL, "cause": "Any"}, 422, "invalid_request"),
        ({"topic": topics.PUPIL, "cause": "Any", "ticket": "please"}, 422, "ticket_malformed"),
        ({"topic": topics.PUPIL, "cause": "Any", "ticket": ""}, 422, "ticket_malformed"),
    ],
)
async def test_what_is_asked_wrongly_is_refused_with_a_clear_problem(
    world: TransferWorld, servers: Servers, asked: dict[str, Any], status: int, code: str
) -> None:
    async with desk_of(world, servers, work=Work.NOTHING) as desk:
        for answer in (await desk.replay(**asked), await desk.discard(**asked, reason="no longer needed")):
            assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert (await desk.discard(topic=topics.PUPIL, cause="Any", reason="   ")).status_code == 422


async def test_with_one_unknown_id_among_several_nothing_is_done(world: TransferWorld, servers: Servers) -> None:
    cause = new_cause()
    await set_aside(world, [message_of(an_arrival())], cause)

    async with desk_of(world, servers) as desk:
        (letter,) = await desk.waiting(cause)
        refused = await desk.replay(ids=[letter["id"], str(uuid4())])
        (after,) = await desk.letters(cause)
        back = await desk.given_back(letter)

    assert (refused.status_code, after["state"], back) == (404, "waiting", [])


@pytest.mark.parametrize(("role", "reads"), [("administrator", 403), ("platform", 403), ("operations", 200)])
async def test_only_support_settles_letters_and_operations_may_look(
    world: TransferWorld, servers: Servers, role: str, reads: int
) -> None:
    async with desk_of(world, servers, work=Work.NOTHING, role=role) as desk:
        statuses = [(await desk.client.get(path)).status_code for path in (PATH, f"{PATH}/counts")]
        assert statuses == [reads, reads]
        assert (await desk.replay(topic=topics.PUPIL, cause="Any")).status_code == 403
        assert (await desk.discard(topic=topics.PUPIL, cause="Any", reason="no longer needed")).status_code == 403


async def test_a_database_that_starts_anew_finds_every_letter_again_and_two_readers_enter_it_once(
    world: TransferWorld, servers: Servers
) -> None:
    cause = new_cause()
    await set_aside(world, [message_of(an_arrival()) for _ in range(3)], cause)
    async with desk_of(world, servers) as desk:
        known = await desk.waiting(cause, 3)
    async with world.database.begin() as tx:
        await tx.execute("DELETE FROM dead_letter")

    async with desk_of(world, servers) as desk, world.service(Work.RELAY):
        await set_aside(world, [message_of(an_arrival())], cause)
        found = await desk.waiting(cause, 4)

    assert found[1:] == known
    assert len({letter["id"] for letter in found}) == 4


async def test_a_letter_is_kept_as_long_as_its_topic_keeps_it_and_does_not_come_back(
    world: TransferWorld, servers: Servers
) -> None:
    cause, bootstrap = new_cause(), servers.endpoints.kafka_bootstrap
    for _ in range(2):
        await set_aside(world, [message_of(an_arrival())], cause)
    async with desk_of(world, servers) as desk:
        newer, older = await desk.waiting(cause, 2)
    # So late that the older one is kept no longer, and the newer one just so.
    clock = SettableClock(datetime.fromisoformat(newer["set_aside_at"]) + timedelta(days=400))
    letters = PostgresLetters(world.database, clock)

    async def left() -> list[str]:
        return [
            str(one.id) for one in await letters.page(topic=None, cause=cause.__name__, state=None, after=None, limit=9)
        ]

    async def only_the_newer() -> bool | None:
        return True if await left() == [newer["id"]] else None

    async with _reading(LetterReader(bootstrap, letters, clock)):
        await eventually(only_the_newer, left)
    async with world.database.begin() as tx:
        await tx.execute("DELETE FROM dead_letter")
    async with _reading(LetterReader(bootstrap, letters, clock)):
        await eventually(lambda: _some(left()))

    assert older["set_aside_at"] < newer["set_aside_at"]
    assert await left() == [newer["id"]]


async def test_a_consumer_that_has_stopped_at_its_limit_is_shown_and_resumes_when_it_is_started(
    world: TransferWorld, servers: Servers
) -> None:
    """A stopped one and one that was never started look the same: nobody works, and messages wait."""
    await world.schools.publisher.publish([message_of(an_arrival())])
    async with world.service(Work.JOIN):
        await join_caught_up(world)

    async with desk_of(world, servers, work=Work.NOTHING, role="operations") as desk:
        at_rest = await _consumer(desk, world)
        await world.schools.publisher.publish([message_of(an_arrival()) for _ in range(3)])
        stopped = await _consumer(desk, world)
        async with world.service(Work.JOIN):
            await join_caught_up(world)
            resumed = await _consumer(desk, world)

    assert (at_rest["members"], at_rest["behind"], at_rest["stopped"]) == (0, 0, False)
    assert (stopped["members"], stopped["behind"], stopped["stopped"]) == (0, 3, True)
    assert (resumed["members"], resumed["behind"], resumed["stopped"]) == (1, 0, False)


async def _consumer(desk: Desk, world: TransferWorld) -> dict[str, Any]:
    answer = (await desk.client.get("/v1/support/consumers")).json()
    assert answer["limit"] == {"in_a_row": 20, "share": 0.5, "window": 100}
    (found,) = [one for one in answer["consumers"] if one["group"] == world.config.join_group]
    return dict(found)


@asynccontextmanager
async def _reading(reader: LetterReader) -> AsyncIterator[None]:
    task = asyncio.create_task(reader.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _marks(servers: Servers, topic: str) -> list[str]:
    records = await records_of(servers.endpoints.kafka_bootstrap, topic)
    marks = [dict(record.headers).get("cpro_dlq_replay_of") for record in records]
    return [mark.decode() for mark in marks if mark]


async def _set_aside_at(world: TransferWorld, record: Record, cause: type[Exception]) -> None:
    await DeadLetters(world.schools.publisher, group="tests", clock=SystemClock()).put(record, cause())


async def _some(found: Any) -> Any:
    return await found or None
