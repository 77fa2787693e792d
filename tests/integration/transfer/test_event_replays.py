"""What schools have said can be said again: counted first, at a pace, from where it stopped, and changing nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from cpro_contracts import topics
from cpro_contracts.establishments import TransferOptInChanged
from cpro_contracts.pupils import PupilCreated, PupilDeactivated
from cpro_platform.database import database_conninfo
from cpro_test_support.depth import slow
from cpro_test_support.letters import Desk, desk_of
from cpro_test_support.messages import records_of
from cpro_test_support.records import Amounts
from cpro_test_support.replaying import PATH, all_rows, asked, join_caught_up, reaches, replayed, replayed_messages
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai, opened_world
from cpro_transfer.bootstrap import Work

RECORDS = Amounts(reports=1, attachments=0)
LONG_AGO = "2024-01-01T00:00:00Z"


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[TransferWorld]:
    async with opened_world(servers.endpoints, replay_poll_seconds=0.05) as opened:
        yield opened


async def test_replaying_all_that_was_ever_published_changes_no_row_anywhere_with_movers_at_work(
    world: TransferWorld, servers: Servers
) -> None:
    async with desk_of(world, servers, work=Work.ALL) as desk:
        schools = await _a_year_of_school_life(world)
        await join_caught_up(world)
        await world.at_rest()
        await world.all_told()
        log = [row for school in schools for row in await school.fetch("SELECT id, topic, key FROM outbox")]
        before = await all_rows(world)

        first = await replayed(desk, published_from=_days_ago(1))
        second = await replayed(desk, establishments=[school.uai for school in schools])
        await join_caught_up(world)
        await world.at_rest()
        await world.all_told()
        after = await all_rows(world)

    assert {place: set(after[place]) ^ set(rows) for place, rows in before.items() if after[place] != rows} == {}
    newest = {(topic, key): event_id for event_id, topic, key in log if topic == topics.ESTABLISHMENT}
    said = {event_id for event_id, topic, _ in log if topic == topics.PUPIL} | set(newest.values())
    for replay in (first, second):
        messages = await replayed_messages(world, replay["id"])
        assert {UUID(dict(one.headers)["ce_id"].decode()) for one in messages} == said
        assert len(messages) == replay["expected"] == replay["published"] == len(said)


async def test_an_event_goes_out_again_under_its_id_with_its_bytes_and_the_replay_in_a_header(
    world: TransferWorld, servers: Servers
) -> None:
    (school,) = await world.schools.create(new_uai())
    await school.has(new_ine())
    bootstrap = servers.endpoints.kafka_bootstrap
    (first,) = [one for one in await records_of(bootstrap, topics.PUPIL) if _uai(one) == school.uai]

    async with desk_of(world, servers) as desk:
        replay = await replayed(desk, establishments=[school.uai])

    (again,) = await replayed_messages(world, replay["id"])
    assert (again.key, again.value, again.partition) == (first.key, first.value, first.partition)
    assert list(again.headers) == [*first.headers, ("ce_cproreplay", replay["id"].encode())]


async def test_nothing_is_published_before_somebody_has_seen_the_numbers(
    world: TransferWorld, servers: Servers
) -> None:
    school, other = await world.schools.opted_in(new_uai(), new_uai())
    for _ in range(3):
        await school.loses(await school.has(new_ine()))
    await other.has(new_ine())

    async with desk_of(world, servers) as desk:
        counted = await asked(desk, establishments=[school.uai, other.uai])
        parts = (await desk.client.get(f"{PATH}/{counted['id']}/establishments")).json()["items"]

    assert await replayed_messages(world, counted["id"]) == []
    assert counted["counts"] == {TransferOptInChanged.type: 2, PupilCreated.type: 4, PupilDeactivated.type: 3}
    assert (counted["expected"], counted["published"], counted["schools"]) == (9, 0, 2)
    assert {part["uai"]: part["expected"] for part in parts} == {school.uai: 7, other.uai: 2}
    assert (counted["requested_by"], counted["ticket"], counted["started_by"]) == ("tests", "SUP-42", None)


async def test_events_are_chosen_by_pupil_by_import_and_by_time(world: TransferWorld, servers: Servers) -> None:
    (school,) = await world.schools.create(new_uai())
    pupil, other = await school.has(new_ine()), await school.has(new_ine())
    await school.loses(pupil)
    import_id = uuid4()
    await school.execute(
        "UPDATE outbox SET payload = payload || jsonb_build_object('import_id', %s::text) WHERE payload ->> 'pupil_id' = %s",
        str(import_id), str(other),
    )  # fmt: skip
    await school.execute("UPDATE outbox SET published_at = %s WHERE type = %s", _days_ago(10), PupilDeactivated.type)

    async with desk_of(world, servers) as desk:
        here = {"establishments": [school.uai]}
        counts = [
            (await asked(desk, **here, **conditions))["counts"]
            for conditions in (
                {"pupil_id": str(pupil)},
                {"import_id": str(import_id)},
                {"published_from": _days_ago(11), "published_to": _days_ago(9)},
                {"published_from": _days_ago(1)},
                {"pupil_id": str(other), "published_to": _days_ago(9), "published_from": _days_ago(11)},
            )
        ]

    assert counts == [
        {PupilCreated.type: 1, PupilDeactivated.type: 1},
        {PupilCreated.type: 1},
        {PupilDeactivated.type: 1},
        {PupilCreated.type: 2},
        {},
    ]


async def test_an_opt_in_of_before_never_becomes_the_last_one_on_its_compacted_topic(
    world: TransferWorld, servers: Servers
) -> None:
    known, unsaid = await world.schools.opted_in(new_uai(), new_uai())
    for school in (known, unsaid):
        await school.execute("UPDATE outbox SET published_at = %s", _days_ago(10))
    await known.opts_out()
    unsaid.publishes = False
    await unsaid.opts_out()

    async with desk_of(world, servers) as desk:
        await replayed(desk, published_from=_days_ago(11), published_to=_days_ago(9))
        whole = await replayed(desk, published_from=_days_ago(11))
        not_yet_said = await asked(desk, establishments=[unsaid.uai])

    records = await records_of(servers.endpoints.kafka_bootstrap, topics.ESTABLISHMENT)
    last = [record for record in records if _uai(record) == known.uai][-1]
    assert b'"enabled": false' in (last.value or b"")
    assert whole["counts"] == {TransferOptInChanged.type: 1}
    assert not_yet_said["counts"] == {}
    assert len([record for record in records if _uai(record) == unsaid.uai]) == 1


async def test_no_more_events_a_second_are_published_than_asked_for(world: TransferWorld, servers: Servers) -> None:
    (school,) = await world.schools.create(new_uai())
    await _has_many(school, 24)

    async with desk_of(world, servers) as desk:
        replay = await replayed(desk, establishments=[school.uai], events_per_second=8)

    took = datetime.fromisoformat(replay["finished_at"]) - datetime.fromisoformat(replay["started_at"])
    assert replay["published"] == 24
    assert took >= timedelta(seconds=(24 - 8) / 8)


@slow
async def test_a_replay_whose_process_is_killed_goes_on_from_its_place(world: TransferWorld, servers: Servers) -> None:
    school, other = await world.schools.create(new_uai(), new_uai())
    await _has_many(school, 25)
    await _has_many(other, 5)
    async with desk_of(world, servers) as desk:
        counted = await asked(desk, published_from=_days_ago(1), events_per_second=10)

    with world.process("relay", crash_at="event_replay.published#2") as process:
        await process.start()
        async with desk_of(world, servers, work=Work.NOTHING) as desk:
            assert (await desk.client.post(f"{PATH}/{counted['id']}/start")).status_code == 200
        assert await process.ended() == -signal.SIGKILL
    before = await replayed_messages(world, counted["id"])
    async with desk_of(world, servers) as desk:
        ended = await reaches(desk, counted["id"], "completed")

    messages = await replayed_messages(world, counted["id"])
    ids = [dict(one.headers)["ce_id"] for one in messages]
    assert len(before) == 20
    assert len(set(ids)) == ended["published"] == ended["expected"] == 30
    assert len(ids) == 30 + 10  # the batch that was on Kafka and not noted, once more


async def test_a_school_that_is_away_keeps_no_other_waiting_and_comes_later(
    world: TransferWorld, servers: Servers
) -> None:
    away, there = sorted(await world.schools.create(new_uai(), new_uai()), key=lambda school: school.uai)
    await _has_many(away, 2)
    await _has_many(there, 2)

    async with desk_of(world, servers) as desk:
        counted = await asked(desk, establishments=[away.uai, there.uai])
        async with _locked_up(world, away):
            await desk.client.post(f"{PATH}/{counted['id']}/start")
            waiting = await _part(desk, counted["id"], there.uai, done=True)
            trouble = await _part(desk, counted["id"], away.uai, done=False)
        async with world.database.begin() as tx:
            await tx.execute("UPDATE event_replay_school SET due_at = now()")
        ended = await reaches(desk, counted["id"], "completed")

    assert waiting["published"] == 2
    assert trouble["published"] == 0
    assert trouble["trouble"]
    assert (ended["published"], ended["in_trouble"]) == (4, 0)


async def test_of_two_supports_who_start_a_replay_at_once_one_does(world: TransferWorld, servers: Servers) -> None:
    (school,) = await world.schools.create(new_uai())
    await school.has(new_ine())
    async with desk_of(world, servers) as desk:
        counted = await asked(desk, establishments=[school.uai])
        url = f"{PATH}/{counted['id']}/start"
        colleague = {"Authorization": f"Bearer {servers.tokens.token('colleague', ['support'])}"}
        answers = await asyncio.gather(
            desk.client.post(url), desk.client.post(url, headers=colleague), desk.client.post(url, headers=colleague)
        )
        ended = await reaches(desk, counted["id"], "completed")
        too_late = await desk.client.post(f"{PATH}/{counted['id']}/cancel")

    refused = [answer for answer in answers if answer.status_code == 409]
    assert {answer.status_code for answer in answers} == {200, 409}
    assert {answer.json()["code"] for answer in refused} == {"event_replay_state"}
    assert len(await replayed_messages(world, counted["id"])) == 1
    assert ended["started_by"] in {"tests", "colleague"}
    assert (too_late.status_code, too_late.json()["state"]) == (409, "completed")


async def test_a_cancelled_replay_publishes_no_more_and_can_not_be_started(
    world: TransferWorld, servers: Servers
) -> None:
    (school,) = await world.schools.create(new_uai())
    await _has_many(school, 6)
    async with desk_of(world, servers) as desk:
        counted = await asked(desk, establishments=[school.uai], events_per_second=1)
        await desk.client.post(f"{PATH}/{counted['id']}/start")
        cancelled = await desk.client.post(f"{PATH}/{counted['id']}/cancel")
        again = await desk.client.post(f"{PATH}/{counted['id']}/cancel")
        restarted = await desk.client.post(f"{PATH}/{counted['id']}/start")
        published = len(await replayed_messages(world, counted["id"]))

    assert (cancelled.status_code, cancelled.json()["state"], cancelled.json()["cancelled_by"]) == (
        200,
        "cancelled",
        "tests",
    )
    assert (again.status_code, restarted.status_code) == (200, 409)
    assert published == cancelled.json()["published"] < 6


async def test_a_replay_asked_for_twice_under_one_id_is_one(world: TransferWorld, servers: Servers) -> None:
    (school,) = await world.schools.create(new_uai())
    async with desk_of(world, servers) as desk:
        body = {"id": str(uuid4()), "establishments": [school.uai], "ticket": "SUP-42"}
        answers = [await desk.client.post(PATH, json=body) for _ in range(2)]
        listed = (await desk.client.get(PATH)).json()["items"]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert [one["id"] for one in listed] == [body["id"]]


@pytest.mark.parametrize(
    ("selection", "status", "code", "why"),
    [
        ({}, 422, "event_replay_mischosen", "nothing"),
        ({"published_from": LONG_AGO}, 422, "event_replay_mischosen", "too_long"),
        ({"published_from": LONG_AGO, "published_to": "2026-01-01T00:00:00Z"}, 422, "event_replay_mischosen", "too_long"),
        ({"published_to": LONG_AGO}, 422, "event_replay_mischosen", "open"),
        ({"published_from": LONG_AGO, "published_to": "2023-01-01T00:00:00Z"}, 422, "event_replay_mischosen", "backwards"),
        ({"pupil_id": str(uuid4())}, 422, "event_replay_mischosen", "which_school"),
        ({"import_id": str(uuid4()), "published_from": LONG_AGO}, 422, "event_replay_mischosen", "which_school"),
        ({"published_from": "2026-11-01T00:00:00"}, 422, "invalid_request", None),
        ({"establishments": ["0752387A"]}, 422, "invalid_request", None),
        ({"establishments": ["0752387M"]}, 404, "establishment_unknown", None),
        ({"establishments": ["0752387M"], "ticket": "tomorrow"}, 422, "ticket_malformed", None),
        ({"establishments": ["0752387M"], "events_per_second": 10_000}, 422, "invalid_request", None),
        ({"establishments": ["0752387M"], "events_per_second": 0}, 422, "invalid_request", None),
    ],
)  # fmt: skip
async def test_what_is_asked_wrongly_is_refused_with_a_clear_problem_and_nothing_is_written(
    world: TransferWorld, servers: Servers, selection: dict[str, Any], status: int, code: str, why: str | None
) -> None:
    async with desk_of(world, servers, work=Work.NOTHING) as desk:
        answer = await desk.client.post(PATH, json={"ticket": "SUP-42"} | selection)
        listed = (await desk.client.get(PATH)).json()["items"]

    assert (answer.status_code, answer.json()["code"], answer.json().get("why")) == (status, code, why)
    assert listed == []


async def test_only_support_replays_and_operations_may_look(world: TransferWorld, servers: Servers) -> None:
    unknown = uuid4()
    for role, reads in (("administrator", 403), ("platform", 403), ("operations", 200)):
        async with desk_of(world, servers, work=Work.NOTHING, role=role) as desk:
            assert (await desk.client.get(PATH)).status_code == reads
            asked_for = await desk.client.post(PATH, json={"ticket": "SUP-42", "published_from": _days_ago(1)})
            started = await desk.client.post(f"{PATH}/{unknown}/start")
            assert (asked_for.status_code, started.status_code) == (403, 403)
    async with desk_of(world, servers, work=Work.NOTHING) as desk:
        assert (await desk.client.post(f"{PATH}/{unknown}/start")).json()["code"] == "event_replay_unknown"


async def _a_year_of_school_life(world: TransferWorld) -> list[School]:
    """Transfers that complete, one that a return ends, one that waits for an opt-in, a corrected INE, a pupil without."""
    origin, destination, shut = await world.schools.opted_in(new_uai(), new_uai(), new_uai())
    await shut.opts_out()
    moved, returned, waiting, corrected = (new_ine() for _ in range(4))
    leaver = await origin.has(moved, records=RECORDS)
    await origin.loses(leaver)
    await destination.has(moved)
    back = await origin.has(returned, records=RECORDS)
    await origin.loses(back)
    await origin.has_again(back)
    stays = await shut.has(waiting, records=RECORDS)
    await shut.loses(stays)
    await destination.has(waiting)
    await origin.corrects_ine(await origin.has(corrected), new_ine())
    await origin.has(None)
    await world.ends("completed")
    return [origin, destination, shut]


async def _has_many(school: School, number: int) -> None:
    school.publishes = False
    for _ in range(number):
        await school.has(None)
    school.publishes = True
    await school.publish()


@asynccontextmanager
async def _locked_up(world: TransferWorld, school: School) -> AsyncIterator[None]:
    """Nobody gets into the school's database, and who was in is thrown out."""
    tenant = await world.schools.directory.find(school.uai)
    assert tenant is not None
    cluster = world.schools.endpoints.postgres_clusters[tenant.cluster]
    database = sql.Identifier(tenant.database)
    async with await psycopg.AsyncConnection.connect(database_conninfo(cluster, "postgres"), autocommit=True) as server:
        await server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (tenant.database,)
        )
        yield
        await server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database))


async def _part(desk: Desk, replay_id: str, uai: str, *, done: bool) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        parts = (await desk.client.get(f"{PATH}/{replay_id}/establishments")).json()["items"]
        (part,) = [one for one in parts if one["uai"] == uai]
        return part if part["done"] is done and (done or part["trouble"]) else None

    found: dict[str, Any] = await eventually(there)
    return found


def _days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def _uai(record: Any) -> str:
    return str(dict(record.headers).get("ce_subject", b"").decode())
