"""Schools change their minds while the join and the movers work: told end to end, with the real service on Kafka.

A mover is killed at a named point where a story needs a move that is under way; the next one finds what it left.
"""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from cpro_test_support.depth import in_part, points
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai
from cpro_transfer.bootstrap import Service, Work

RECORDS = Amounts(reports=2, activity_sheets=1, assessments=1, attachments=1)
WITHOUT_MOVERS = Work.JOIN | Work.RELAY
BEFORE_LANDING = ["move.prepared", "move.held", "move.files_copied"]
IN_EVERY_RUN = [None, "move.landed"]
LEASE_SECONDS = 1.0


@asynccontextmanager
async def joining(world: TransferWorld) -> AsyncIterator[Service]:
    """The service without movers."""
    async with world.service(WITHOUT_MOVERS) as service:
        yield service


async def under_way(world: TransferWorld, point: str) -> None:
    """A mover that dies at this point, with the transfers that are planned in its hands."""
    with world.process("move", crash_at=point, lease_seconds=LEASE_SECONDS, concurrent_batches=1) as mover:
        await mover.start()
        assert await mover.ended() == -signal.SIGKILL


async def goes_on(world: TransferWorld) -> None:
    """The whole service, until nothing is due any more."""
    async with world.service(lease_seconds=LEASE_SECONDS):
        await world.at_rest()


async def asked_to_stop(world: TransferWorld, reason: str | None) -> None:
    """Wait until the one transfer is asked to stop for this reason, or no longer is."""

    async def asked() -> bool | None:
        (transfer,) = await world.transfers()
        return True if transfer["cancel_requested"] == reason else None

    await eventually(asked, world.transfers)


async def all_at(world: TransferWorld, school: School) -> bool:
    """Every record whole and in this school alone, nothing held, no copy of a file anywhere else."""
    verdict = await world.schools.verify()
    holds = [await known.fetch("SELECT 1 FROM transfer_hold") for known in world.schools.known.values()]
    elsewhere = [uai for uai in world.schools.known if uai != school.uai]
    copies = [await world.schools.store.list(f"tenants/{uai}/") for uai in elsewhere]
    return verdict.clean and set(verdict.places.values()) == {school.uai} and not any(holds) and not any(copies)


async def outcomes(world: TransferWorld) -> set[tuple[str, str | None, str]]:
    """(origin, destination, state) of every transfer."""
    return {(t["origin_uai"], t["destination_uai"], t["state"]) for t in await world.transfers()}


async def a_pupil_about_to_move(world: TransferWorld) -> tuple[School, School, UUID, UUID]:
    """Planned; with the pupil's ids at the origin and at the destination."""
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, records=RECORDS)
    arrived = await destination.has(ine)
    await origin.loses(leaver)
    async with joining(world):
        await world.ends("planned")
    return origin, destination, leaver, arrived


@pytest.mark.parametrize("point", points([*BEFORE_LANDING, "move.landed"], in_every_run=IN_EVERY_RUN))
async def test_who_moves_on_while_the_records_are_under_way_finds_them_at_the_last_school(
    world: TransferWorld, point: str
) -> None:
    first, second, third = await world.schools.opted_in(new_uai(), new_uai(), new_uai())
    ine = new_ine()
    leaver = await first.has(ine, records=RECORDS)
    there = await second.has(ine)
    await first.loses(leaver)
    async with joining(world):
        await world.ends("planned")
    await under_way(world, point)

    async with joining(world):
        await second.loses(there)
        await third.has(ine)
        await world.ends("planned", origin_uai=second.uai, destination_uai=third.uai)
    await goes_on(world)

    assert await all_at(world, third)
    if point == "move.landed":
        expected = {(first.uai, second.uai, "completed")}
    else:
        expected = {(first.uai, second.uai, "cancelled"), (first.uai, third.uai, "completed")}
    assert await outcomes(world) == expected | {(second.uai, third.uai, "completed")}


async def test_of_two_schools_that_claim_a_pupil_one_withdraws_and_the_records_go_to_the_other(
    world: TransferWorld,
) -> None:
    origin, first, second = await world.schools.opted_in(new_uai(), new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, records=RECORDS)
    mistaken = await first.has(ine)
    await second.has(ine)
    await origin.loses(leaver)

    async with world.service():
        await world.ends("held", reason="ambiguous_destination")
        await first.corrects_ine(mistaken, new_ine())
        await world.ends("completed")

    assert await all_at(world, second)


@pytest.mark.parametrize("side", ["origin", "destination"])
async def test_an_opt_in_withdrawn_before_the_hold_stops_the_move_until_it_is_back(
    world: TransferWorld, side: str
) -> None:
    origin, destination, _, _ = await a_pupil_about_to_move(world)
    school = origin if side == "origin" else destination
    async with joining(world):
        await school.opts_out()
        await world.ends("cancelled", reason=f"{side}_not_opted_in")

    await goes_on(world)
    assert await all_at(world, origin)

    await school.opts_in()
    async with world.service():
        await world.ends("completed")
    assert await all_at(world, destination)


@pytest.mark.parametrize(
    ("side", "point"),
    in_part(
        [(side, point) for side in ("destination", "origin") for point in ("move.held", "move.landed")], unpacked=True
    ),
)
async def test_an_opt_in_withdrawn_after_the_hold_ends_the_move_in_hand_and_the_next_does_not_start(
    world: TransferWorld, side: str, point: str
) -> None:
    origin, destination, _, _ = await a_pupil_about_to_move(world)
    await under_way(world, point)
    async with joining(world):
        await (origin if side == "origin" else destination).opts_out()
        if point == "move.held":
            await asked_to_stop(world, f"{side}_not_opted_in")
        next_ine = new_ine()
        next_leaver = await origin.has(next_ine)
        await destination.has(next_ine)
        await origin.loses(next_leaver)

    await goes_on(world)

    (transfer,) = await world.transfers()
    if point == "move.held":
        assert (transfer["state"], transfer["reason"]) == ("cancelled", f"{side}_not_opted_in")
    else:
        assert transfer["state"] == "completed"
    assert await all_at(world, origin if point == "move.held" else destination)


async def test_an_opt_in_that_is_back_before_the_mover_looks_stops_nothing(world: TransferWorld) -> None:
    _, destination, _, _ = await a_pupil_about_to_move(world)
    await under_way(world, "move.held")
    async with joining(world):
        await destination.opts_out()
        await asked_to_stop(world, "destination_not_opted_in")
        await destination.opts_in()
        await asked_to_stop(world, None)

    await goes_on(world)

    (transfer,) = await world.transfers()
    assert "cpro.transfer.cancelled.v1" not in await world.published(transfer["id"])
    assert await all_at(world, destination)


@pytest.mark.parametrize("point", points(BEFORE_LANDING, in_every_run=IN_EVERY_RUN))
async def test_who_comes_back_before_the_landing_keeps_everything(world: TransferWorld, point: str) -> None:
    origin, _, leaver, _ = await a_pupil_about_to_move(world)
    await under_way(world, point)
    async with joining(world):
        await origin.has_again(leaver)
        await asked_to_stop(world, "returned")

    await goes_on(world)

    (transfer,) = await world.transfers()
    assert (transfer["state"], transfer["reason"]) == ("cancelled", "returned")
    assert await all_at(world, origin)


@pytest.mark.parametrize("side", ["origin", "destination"])
@pytest.mark.parametrize("point", points([None, *BEFORE_LANDING, "move.landed"], in_every_run=IN_EVERY_RUN))
async def test_a_corrected_ine_stops_the_move_until_it_has_landed(
    world: TransferWorld, side: str, point: str | None
) -> None:
    origin, destination, leaver, arrived = await a_pupil_about_to_move(world)
    if point:
        await under_way(world, point)
    async with joining(world):
        if side == "origin":
            await origin.corrects_ine(leaver, new_ine())
        else:
            await destination.corrects_ine(arrived, new_ine())
        if point is None:
            await world.ends("cancelled")
        elif point != "move.landed":
            await asked_to_stop(world, "returned" if side == "origin" else "not_arrived")

    await goes_on(world)

    (transfer,) = await world.transfers()
    assert transfer["state"] == ("completed" if point == "move.landed" else "cancelled")
    assert await all_at(world, destination if point == "move.landed" else origin)


async def test_a_mistaken_import_corrected_while_the_transfer_settles_moves_nothing(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    pupil = await origin.has(ine, records=RECORDS)
    await destination.has(ine)

    async with world.service(settling_seconds=3600.0):
        await origin.loses(pupil)
        (planned,) = await world.ends("planned")
        await origin.has_again(pupil)
        (cancelled,) = await world.ends("cancelled")

    assert planned["due_at"] - planned["planned_at"] == timedelta(hours=1)
    assert (cancelled["reason"], cancelled["epoch"]) == ("returned", 0)
    assert await all_at(world, origin)


async def test_what_has_settled_moves(world: TransferWorld) -> None:
    _, destination, _ = await world.a_pupil_changes_school(RECORDS)

    async with world.service(settling_seconds=0.5):
        (transfer,) = await world.ends("completed")

    assert transfer["completed_at"] - transfer["planned_at"] >= timedelta(seconds=0.5)
    assert await all_at(world, destination)


async def test_a_held_transfer_is_tried_again_when_a_school_has_changed_something_and_only_then(
    world: TransferWorld,
) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, records=RECORDS)
    there = await destination.has(ine, first_name="Baptiste")
    await origin.loses(leaver)

    async with world.service():
        await world.ends("held", reason="identity_mismatch")
        before = await world.transfers()
        other = new_ine()  # of somebody else: no fact of this transfer
        await destination.has(other)
        await origin.has(other)
        await destination.execute("UPDATE pupil SET first_name = 'Camille' WHERE id = %s", there)
        await origin.opts_in()  # said again: a new revision
        await world.ends("completed")

    assert [t["state"] for t in before] == ["held"]
    assert before[0]["epoch"] == 1
    assert await all_at(world, destination)
