"""The last question before a hold: does the authorisation still allow this very transfer?"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from cpro_contracts.identifiers import IneStatus, match_key_of_authorisation
from cpro_contracts.pupils import EnrolmentSource, PupilCreated, PupilDeactivated, PupilEvent
from cpro_contracts.transfers import Reason
from cpro_platform import outbox
from cpro_platform.clock import SystemClock
from cpro_test_support.authorising import Desk, authorisations, desk_of, enters, leaves_for_a_cfa, where_records_are
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_uai
from cpro_transfer.adapters.ledger import PostgresLedger
from cpro_transfer.adapters.projection import Projection
from cpro_transfer.bootstrap import Work
from cpro_transfer.errors import SupersededError


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    """The API alone: who moves is said in each test."""
    async with desk_of(world, servers, Work.NOTHING) as opened:
        yield opened


async def claims_under(school: School, kind: type[PupilEvent], pupil_id: UUID, authorisation_id: UUID) -> None:
    """Somebody writes an event as support's replay would."""
    said = kind(
        match_key=match_key_of_authorisation(authorisation_id), uai=school.uai, pupil_id=pupil_id, revision=10_000,
        occurred_at=datetime.now(UTC), source=EnrolmentSource.REPLAY, ine_status=IneStatus.ABSENT,
    )  # fmt: skip
    async with school.world.tenants.begin(school.uai) as tx:
        await outbox.add(tx, [said], source="/forged", clock=SystemClock(), wake_relay=False)


async def a_replay(desk: Desk, origin: School, cfa: School, leaver: UUID) -> tuple[str, UUID]:
    """An authorisation that support has carried out, and the pupil whom it chose."""
    arrived = await enters(cfa)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)
    assert (await desk.replay(authorisation, pupil_id=str(arrived))).status_code == 200
    return authorisation, arrived


async def test_events_under_an_authorisation_that_nobody_gave_move_nothing(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived, nobodys = await enters(cfa), uuid4()

    await claims_under(origin, PupilDeactivated, leaver, nobodys)
    await claims_under(cfa, PupilCreated, arrived, nobodys)
    await world.take_in_events()
    async with world.service(Work.MOVE):
        await world.ends("held", reason="authorisation_revoked")

    assert await where_records_are(world, leaver) == {origin.uai}


@pytest.mark.parametrize("forged", ["destination", "pupil who leaves", "pupil who arrives"])
async def test_an_authorisation_moves_only_who_was_chosen_to_where_it_was_allowed(
    world: TransferWorld, desk: Desk, forged: str
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    (elsewhere,) = await world.schools.opted_in(new_uai())
    other_leaver = await origin.has(None, family_name="AUTRE")
    await origin.loses(other_leaver)
    authorisation, arrived = await a_replay(desk, origin, cfa, leaver)
    about = UUID(authorisation)
    match forged:
        case "destination":
            await cfa.execute("DELETE FROM outbox WHERE key LIKE 'authorisation:%%'")
            await claims_under(elsewhere, PupilCreated, await enters(elsewhere, pupil_id=arrived), about)
        case "pupil who leaves":
            await claims_under(origin, PupilDeactivated, other_leaver, about)
        case "pupil who arrives":
            await claims_under(cfa, PupilCreated, await enters(cfa, first_name="Autre"), about)

    await world.take_in_events()
    async with world.service(Work.MOVE):
        await world.ends("held", reason="authorisation_revoked")

    assert await where_records_are(world, leaver) == {origin.uai}
    assert (await authorisations(world))[0]["transfer_id"] is None


async def test_an_authorisation_that_expires_after_the_replay_moves_nothing(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    await a_replay(desk, origin, cfa, leaver)
    async with world.database.begin() as tx:
        await tx.execute("UPDATE transfer_authorisation SET given_on = '2020-01-01', expires_on = '2021-01-01'")
    await world.take_in_events()

    async with world.service(Work.MOVE):
        await world.ends("held", reason="authorisation_expired")

    assert await where_records_are(world, leaver) == {origin.uai}


async def test_a_transfer_that_was_set_aside_can_be_revoked_again(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    await a_replay(desk, origin, cfa, leaver)
    await cfa.execute("UPDATE transfer_opt_in SET enabled = false")  # at the landing, long after the gate
    await world.take_in_events()
    async with world.service(Work.MOVE):
        await world.ends("held", reason="destination_not_opted_in")

        revoked = await desk.revoke(origin, leaver)
        await cfa.opts_in()
        await world.take_in_events()
        await world.ends("held", reason="authorisation_revoked")

    assert revoked.status_code == 200
    assert await where_records_are(world, leaver) == {origin.uai}


async def test_a_mover_that_was_overtaken_does_not_pass(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    await a_replay(desk, origin, cfa, leaver)
    await world.take_in_events()
    sleeper, successor = (
        PostgresLedger(world.database, Projection(), SystemClock(), worker=name, lease=timedelta(0))
        for name in ("sleeper", "successor")
    )
    old = await sleeper.claim(10)
    new = await successor.claim(10)

    with pytest.raises(SupersededError):
        await sleeper.pass_gate(old)
    assert (await authorisations(world))[0]["transfer_id"] is None, "nothing of the sleeper's is left"
    assert await successor.pass_gate(new) == {}
    assert (await desk.revoke(origin, leaver)).json()["code"] == "authorisation_begun"

    await successor.hold(new, Reason.DIGEST_MISMATCH)
    assert (await desk.revoke(origin, leaver)).status_code == 200


async def test_a_mover_killed_behind_the_gate_keeps_it_shut_until_the_next_has_moved_the_records(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    await a_replay(desk, origin, cfa, leaver)
    await world.take_in_events()
    with world.process("move", crash_at="move.authorised", lease_seconds=1.0) as mover:
        await mover.start()
        await mover.ended()

    revoked = await desk.revoke(origin, leaver)
    async with world.service(Work.MOVE, lease_seconds=1.0):
        await world.ends("completed")

    assert (revoked.status_code, revoked.json()["code"]) == (409, "authorisation_begun")
    assert await where_records_are(world, leaver) == {cfa.uai}
