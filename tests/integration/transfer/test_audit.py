"""Whoever acts on transfers, authorisations, dead letters or event logs is written down, for the schools concerned."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from cpro_contracts.transfers import Reason
from cpro_platform.auth import Role
from cpro_platform.clock import SystemClock
from cpro_test_support import authorising, letters
from cpro_test_support.authorising import Desk, desk_of, leaves_for_a_cfa
from cpro_test_support.letters import TICKET, an_arrival, message_of, new_cause, set_aside
from cpro_test_support.replaying import replayed
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.adapters.authorisations import PostgresAuthorisations
from cpro_transfer.bootstrap import Work
from cpro_transfer.domain.support import Order
from cpro_transfer.ports.authorising import Choice

Line = dict[str, Any]


async def trail(desk: Desk, school: School) -> list[Line]:
    """What the school's administrator reads, oldest first."""
    answer = await desk.administrator(school, "GET", "audit")
    assert answer.is_success, answer.text
    return list(reversed(answer.json()["items"]))


async def test_both_schools_read_who_allowed_and_who_carried_out_a_transfer_and_each_its_own_pupil_only(
    world: TransferWorld, servers: Servers
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived = await authorising.enters(cfa)
    async with desk_of(world, servers, Work.ALL) as desk:
        await desk.authorised(origin, leaver, cfa.uai)
        await desk.revoke(origin, leaver)
        authorisation = await desk.authorised(origin, leaver, cfa.uai)
        for _ in range(2):  # the second changes nothing, and so is no act
            await desk.replay(authorisation, pupil_id=str(arrived))
        (moved,) = await world.ends("completed")
        sent, received = await trail(desk, origin), await trail(desk, cfa)
        seen = (await desk.support("GET", f"audit?transfer_id={moved['id']}")).json()["items"]

    head, support = "head-of-" + origin.uai, "support-1"
    assert [(one["action"], one["actor"], one["ticket"]) for one in sent] == [
        ("authorisation.recorded", head, None),
        ("authorisation.revoked", head, None),
        ("authorisation.recorded", head, None),
        ("authorisation.replay_chosen", support, authorising.TICKET),
        ("authorisation.replayed", support, authorising.TICKET),
    ]
    assert [one["action"] for one in received] == [one["action"] for one in sent]
    assert [one["actor"] for one in received] == [None, None, None, support, support]
    assert {one["pupil_id"] for one in sent} == {str(leaver)}
    assert [one["pupil_id"] for one in received] == [None, None, None, str(arrived), str(arrived)]
    assert {one["subject_id"] for one in sent[2:]} == {authorisation}
    assert [one["action"] for one in reversed(seen)] == [one["action"] for one in sent[2:]]


async def test_what_was_chosen_and_could_not_be_carried_out_is_written_down_with_its_reason(
    world: TransferWorld, servers: Servers
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    async with desk_of(world, servers, Work.NOTHING) as desk:
        authorisation = await desk.authorised(origin, leaver, cfa.uai)
        store = PostgresAuthorisations(world.database, SystemClock(), lifetime_days=365)
        order = Order("support-1", Role.SUPPORT, TICKET)
        chosen = await store.choose(UUID(authorisation), Choice(TICKET, uuid4(), creates=True), order)
        for _ in range(2):  # once given up, there is nothing to give up
            await store.give_up(chosen, Reason.DESTINATION_NOT_OPTED_IN, order)
        _, begun, given_up = await trail(desk, origin)

    assert (begun["action"], begun["facts"]) == ("authorisation.replay_chosen", {"creates_pupil": True})
    assert given_up["action"] == "authorisation.replay_given_up"
    assert given_up["facts"] == {"reason": "destination_not_opted_in"}


@pytest.mark.parametrize(
    ("act", "changes", "action"),
    [("replay", {}, "dead_letter.replayed"), ("discard", {"reason": "sent by a test"}, "dead_letter.discarded")],
)
async def test_a_school_reads_what_was_decided_about_each_of_its_dead_letters(
    world: TransferWorld, servers: Servers, act: str, changes: dict[str, str], action: str
) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    cause = new_cause()
    await set_aside(world, [message_of(an_arrival().model_copy(update={"uai": school.uai}))], cause)
    async with letters.desk_of(world, servers) as desk:
        (letter,) = await desk.waiting(cause)
        answers = [await getattr(desk, act)(ids=[letter["id"]], **changes) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409]

    async with desk_of(world, servers, Work.NOTHING) as looking:
        (line,) = await trail(looking, school)
    assert (line["action"], line["ticket"], line["subject_id"]) == (action, TICKET, letter["id"])
    assert line["facts"] == {"topic": letter["topic"], "cause": letter["cause"]}


async def test_a_school_reads_that_its_event_log_was_published_again(world: TransferWorld, servers: Servers) -> None:
    school, other = await world.schools.opted_in(new_uai(), new_uai())
    await school.has(new_ine())
    async with letters.desk_of(world, servers, work=Work.RELAY) as desk:
        found = await replayed(desk, establishments=[school.uai], id=str(uuid4()))

    async with desk_of(world, servers, Work.NOTHING) as looking:
        (line,) = await trail(looking, school)
        assert await trail(looking, other) == []
    assert (line["action"], line["subject_id"], line["ticket"]) == (
        "event_replay.started",
        found["id"],
        found["ticket"],
    )
    assert line["facts"]["expected"] == found["expected"] > 0
