"""Support's queue, candidates and replays: what is refused, and what two at once, or one who dies, come to."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from cpro_platform.auth import Role
from cpro_platform.clock import SystemClock
from cpro_test_support.authorising import (
    TICKET,
    Desk,
    authorisations,
    desk_of,
    enters,
    leaves_for_a_cfa,
    where_records_are,
)
from cpro_test_support.depth import in_part
from cpro_test_support.reconciling import answering
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai
from cpro_transfer.adapters.authorisations import PostgresAuthorisations
from cpro_transfer.bootstrap import Work
from cpro_transfer.domain.support import Order
from cpro_transfer.ports.authorising import Choice


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    """The API and a mover."""
    async with desk_of(world, servers) as opened:
        yield opened


async def said_under_authorisations(world: TransferWorld) -> int:
    """How many events all schools have said under the keys of authorisations."""
    counts = [
        (await school.fetch("SELECT count(*) FROM outbox WHERE key LIKE 'authorisation:%%'"))[0][0]
        for school in world.schools.known.values()
    ]
    return sum(counts)


async def test_candidates_are_ranked_with_the_reason_and_what_differs(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, _ = await leaves_for_a_cfa(world)
    ine = new_ine()
    leaver = await origin.has(ine, family_name="LEFÈVRE", first_name="Jean-Baptiste", born=date(2009, 2, 3))
    await origin.loses(leaver)
    namesake = await enters(cfa, family_name="Lefevre", first_name="Jean Baptiste", born=date(2008, 2, 3))
    twin = await enters(cfa, family_name="LEFEVRE", first_name="Apolline", born=date(2009, 2, 3))
    same = await enters(cfa, family_name="LEFEVRE", first_name="Jean-Baptiste", born=date(2009, 2, 3), ine=new_ine())
    by_ine = await enters(cfa, family_name="DUPONT", first_name="Jean-Baptiste", born=date(2009, 2, 3), ine=ine)
    gone = await enters(cfa, family_name="LEFEVRE", first_name="Jean-Baptiste", born=date(2009, 2, 3))
    await cfa.execute("UPDATE pupil SET active = false WHERE id = %s", gone)
    await enters(cfa, family_name="MOREAU", first_name="Inès", born=date(2009, 2, 3))
    authorisation = await desk.authorised(origin, leaver, cfa.uai)

    found = (await desk.support("GET", f"authorisations/{authorisation}/candidates")).json()

    assert found["pupil"]["family_name"] == "LEFÈVRE"
    assert [(one["pupil"]["pupil_id"], one["reason"], one["differs"]) for one in found["candidates"]] == [
        (str(by_ine), "same_ine", ["family_name"]),
        (str(same), "same_names_and_birth_date", ["ine"]),
        (str(twin), "same_birth_date", ["first_name"]),
        (str(namesake), "same_names", ["birth_date"]),
        (str(gone), "same_names_and_birth_date", ["not_present"]),
    ]


async def test_the_queue_is_oldest_first_and_says_what_is_missing(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, first = await leaves_for_a_cfa(world)
    await enters(cfa)
    nobody, closed = await world.schools.opted_in(new_uai(), new_uai())
    second, third = await origin.has(None, family_name="AUBE"), await origin.has(None, family_name="BRUN")
    for pupil in (second, third):
        await origin.loses(pupil)
    await closed.opts_out()
    ids = [
        await desk.authorised(origin, first, cfa.uai),
        await desk.authorised(origin, second, nobody.uai),
        await desk.authorised(origin, third, closed.uai),
    ]

    one = (await desk.support("GET", "authorisations?limit=2")).json()
    two = (await desk.support("GET", f"authorisations?limit=2&cursor={one['next_cursor']}")).json()

    assert [(item["id"], item["missing"]) for item in [*one["items"], *two["items"]]] == [
        (ids[0], []),
        (ids[1], ["no_candidate"]),
        (ids[2], ["destination_not_opted_in", "no_candidate"]),
    ]
    assert one["items"][0]["origin"]["uai"] == origin.uai
    await origin.opts_out()
    again = (await desk.support("GET", "authorisations")).json()["items"]
    assert again[0]["missing"] == ["origin_not_opted_in"]


@pytest.mark.parametrize(
    ("case", "status", "code"),
    in_part(
        [
            ("ticket", 422, "ticket_malformed"),
            ("both", 422, "invalid_request"),
            ("neither", 422, "invalid_request"),
            ("unknown authorisation", 404, "not_found"),
            ("unknown pupil", 404, "candidate_unknown"),
            ("inactive pupil", 409, "candidate_not_present"),
            ("create beside one who is there", 409, "candidates_exist"),
            ("origin closed", 409, "origin_not_opted_in"),
            ("destination closed", 409, "destination_not_opted_in"),
            ("pupil back", 409, "pupil_not_left"),
            ("records gone", 409, "records_already_moved"),
            ("revoked", 409, "authorisation_revoked"),
        ],
        unpacked=True,
    ),
)
async def test_what_can_not_be_replayed_is_refused_and_nothing_is_half_done(
    world: TransferWorld, desk: Desk, case: str, status: int, code: str
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived, gone = await enters(cfa), await enters(cfa, first_name="Autre")
    await cfa.execute("UPDATE pupil SET active = false WHERE id = %s", gone)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)
    match case:
        case "origin closed":
            await origin.opts_out()
        case "destination closed":
            await cfa.opts_out()
        case "pupil back":
            await origin.has_again(leaver)
        case "records gone":
            await origin.execute("UPDATE pupil SET records_moved_at = now() WHERE id = %s", leaver)
        case "revoked":
            await desk.revoke(origin, leaver)
    others: dict[str, dict[str, Any]] = {
        "ticket": {"pupil_id": str(arrived), "ticket": "please"},
        "both": {"pupil_id": str(arrived), "create": True},
        "neither": {},
        "unknown pupil": {"pupil_id": str(uuid4())},
        "inactive pupil": {"pupil_id": str(gone)},
        "create beside one who is there": {"create": True},
    }
    asked = others.get(case, {"pupil_id": str(arrived)})
    about = str(uuid4()) if case == "unknown authorisation" else authorisation

    dry = await desk.replay(about, **asked | {"dry_run": True})
    refused = await desk.replay(about, **asked)

    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert (dry.status_code, dry.json()["code"]) == (status, code), "a dry run refuses what the real one would"
    assert await said_under_authorisations(world) == 0
    assert [one["ticket"] for one in await authorisations(world)] == [None]
    assert len(await cfa.fetch("SELECT id FROM pupil")) == 2


async def test_of_two_supports_at_once_exactly_one_wins(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    one, other = await enters(cfa), await enters(cfa)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)

    answers = await asyncio.gather(
        *(
            desk.replay(authorisation, who=f"support-{number}", ticket=f"CPRO-{number}", pupil_id=str(pupil))
            for number, pupil in enumerate([one, other] * 4, start=1)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"authorisation_taken"}
    (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
    await world.take_in_events()
    (transfer,) = await world.ends("completed")
    assert str(transfer["destination_pupil_id"]) == winner["arrival"]["pupil_id"]
    assert [kept["ticket"] for kept in await authorisations(world)] == [winner["ticket"]]
    assert await said_under_authorisations(world) == 2


async def test_of_two_choices_that_wait_for_one_authorisation_the_second_finds_the_first(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    authorisation = UUID(await desk.authorised(origin, leaver, cfa.uai))
    store = PostgresAuthorisations(world.database, SystemClock(), lifetime_days=365)

    async with world.database.begin() as tx:
        await tx.execute("SELECT 1 FROM transfer_authorisation WHERE id = %s FOR UPDATE", (authorisation,))
        choices = [
            asyncio.create_task(
                store.choose(authorisation, Choice(f"CPRO-{number}", uuid4(), creates=False), Order("s", Role.SUPPORT))
            )
            for number in range(2)
        ]

        async def both_wait() -> bool | None:
            async with world.database.begin() as looking:  # in one transaction the view stands still
                rows = await looking.execute(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                return (await rows.fetchone()) == (2,) or None

        await eventually(both_wait)
    outcomes = await asyncio.gather(*choices, return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Authorisation", "AuthorisationTakenError"]


async def test_a_second_ticket_for_the_same_authorisation_is_refused_and_the_first_may_come_again(
    world: TransferWorld, servers: Servers
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    async with desk_of(world, servers, Work.NOTHING) as desk:
        authorisation = await desk.authorised(origin, leaver, cfa.uai)
        first = await desk.replay(authorisation, create=True)

        second = await desk.replay(authorisation, create=True, ticket="CPRO-999")
        again = await desk.replay(authorisation, create=True)

    assert (second.status_code, second.json()["code"], second.json()["ticket"]) == (409, "authorisation_taken", TICKET)
    assert again.status_code == 200
    assert again.json()["arrival"]["pupil_id"] == first.json()["arrival"]["pupil_id"]
    assert len(await cfa.fetch("SELECT id FROM pupil")) == 1
    await world.take_in_events()
    assert len(await world.transfers()) == 1, "what is said twice is planned once"


@pytest.mark.parametrize("point", in_part(["replay.left", "replay.chosen", "replay.arrived"]))
async def test_a_replay_that_dies_anywhere_is_finished_by_the_same_request(
    world: TransferWorld, servers: Servers, point: str
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    async with desk_of(world, servers, Work.MOVE | Work.RELAY) as desk:
        authorisation = await desk.authorised(origin, leaver, cfa.uai)
        body = {"authorisation_id": authorisation, "create": True, "ticket": TICKET, "dry_run": False}
        headers = {"Authorization": f"Bearer {servers.tokens.token('support-1', ['support'])}"}
        async with answering(world, crash_at=point) as (process, url), httpx.AsyncClient() as client:
            with pytest.raises(httpx.TransportError):
                await client.post(f"{url}/v1/support/replays", json=body, headers=headers, timeout=60)
            assert await process.ended() != 0
        (waiting,) = [
            one for one in (await desk.support("GET", "authorisations")).json()["items"] if one["id"] == authorisation
        ]

        finished = await desk.replay(authorisation, create=True)
        await world.take_in_events()
        await world.ends("completed")

    assert "replay_unfinished" in waiting["missing"]
    assert finished.status_code == 200
    assert len(await cfa.fetch("SELECT id FROM pupil")) == 1
    assert await where_records_are(world, leaver) == {cfa.uai}


async def test_a_door_closed_after_the_replay_keeps_the_records_until_it_opens_again(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived = await enters(cfa)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)
    await desk.replay(authorisation, pupil_id=str(arrived))
    await cfa.execute("UPDATE transfer_opt_in SET enabled = false")  # the event of it is late
    await world.take_in_events()
    await world.ends("held", reason="destination_not_opted_in")
    assert await where_records_are(world, leaver) == {origin.uai}

    await cfa.opts_in()
    await world.take_in_events()
    await world.ends("completed")

    assert await where_records_are(world, leaver) == {cfa.uai}


async def test_an_executed_authorisation_is_neither_revoked_nor_replayed_again(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived = await enters(cfa)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)
    await desk.replay(authorisation, pupil_id=str(arrived))
    await world.take_in_events()
    await world.ends("completed")

    answers = [
        await desk.revoke(origin, leaver),
        await desk.authorise(origin, leaver, cfa.uai),
        await desk.replay(authorisation, pupil_id=str(arrived)),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (409, "authorisation_begun"),
        (409, "records_already_moved"),
        (409, "authorisation_begun"),
    ]


async def test_a_pupil_who_comes_back_and_leaves_again_needs_another_authorisation(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived = await enters(cfa)
    first = await desk.authorised(origin, leaver, cfa.uai)
    await desk.replay(first, pupil_id=str(arrived))
    await world.take_in_events()
    await world.ends("completed")
    await origin.has_again(leaver)
    await origin.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'after the return')", leaver)
    await origin.loses(leaver)
    await world.take_in_events()
    await world.at_rest()
    assert (await desk.listed(origin))[0]["code"] == "no_ine"

    second = await desk.authorised(origin, leaver, cfa.uai)
    await desk.replay(second, pupil_id=str(arrived), ticket="CPRO-2")
    await world.take_in_events()
    await world.ends("completed", number=2)

    assert await cfa.fetch("SELECT title FROM report WHERE title = 'after the return'") == [("after the return",)]
    assert await origin.fetch("SELECT id FROM report") == []


async def test_support_alone_sees_the_queue_and_replays(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)
    tokens = desk.servers.tokens

    for token in (tokens.token("t", ["administrator"], origin.uai), tokens.token("t", ["operations"])):
        headers = {"Authorization": f"Bearer {token}"}
        body = {"authorisation_id": authorisation, "create": True, "ticket": TICKET}
        answers = [
            await desk.client.get("/v1/support/authorisations", headers=headers),
            await desk.client.get(f"/v1/support/authorisations/{authorisation}/candidates", headers=headers),
            await desk.client.post("/v1/support/replays", json=body, headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [403, 403, 403]


async def test_a_door_that_closes_while_support_replays_leaves_the_authorisation_as_it_was(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)

    async with world.schools.tenants.begin(cfa.uai) as closing:
        await closing.execute("UPDATE transfer_opt_in SET enabled = false")  # seen by nobody until it commits
        replaying = asyncio.create_task(desk.replay(authorisation, create=True))

        async def the_departure_is_said() -> bool | None:
            return await said_under_authorisations(world) == 1 or None

        await eventually(the_departure_is_said)
    refused = await replaying

    assert (refused.status_code, refused.json()["code"]) == (409, "destination_not_opted_in")
    assert [one["ticket"] for one in await authorisations(world)] == [None]
    assert await cfa.fetch("SELECT id FROM pupil") == []
    await cfa.opts_in()
    await world.take_in_events()
    assert await world.transfers() == []
    assert (await desk.replay(authorisation, create=True, ticket="CPRO-2")).status_code == 200
