"""Movers killed at any moment, again and again, while records move: in the end every record is in exactly one place."""

import asyncio
import random
import signal

import pytest

from cpro_test_support.records import Amounts
from cpro_test_support.transfers import DEADLINE_SECONDS, TransferWorld, new_ine, new_uai

RECORDS = Amounts(reports=2, activity_sheets=1, assessments=2, passport_entries=2, attachments=1)


@pytest.mark.parametrize(
    ("pupils", "kills"),
    [
        pytest.param(12, 3, id="short"),
        pytest.param(300, 40, id="long", marks=[pytest.mark.faults, pytest.mark.timeout(1800)]),
    ],
)
async def test_movers_killed_at_any_moment_lose_and_double_nothing(
    world: TransferWorld, pupils: int, kills: int
) -> None:
    dice = random.Random(20261123)
    first, second, third = await world.schools.opted_in(new_uai(), new_uai(), new_uai())
    destination_of = {}
    for number in range(pupils):
        origin, destination = [(first, second), (second, third), (third, first)][number % 3]
        ine = new_ine()
        leaver = await origin.has(ine, records=RECORDS)
        await origin.loses(leaver)
        await destination.has(ine)
        destination_of[leaver] = destination.uai
    await world.take_in_events()

    killed = 0
    while killed < kills and await _unfinished(world):
        with world.process("move", lease_seconds=1.0, batch_pupils=4) as mover:
            await mover.start()
            await _first_claim(world)
            await asyncio.sleep(dice.uniform(0, 0.4))  # when it dies is the experiment
            mover.send(signal.SIGKILL)
            assert await mover.ended() == -signal.SIGKILL
        killed += 1
        verdict = await world.schools.verify()
        assert not verdict.lost
        assert not verdict.changed
    async with world.service(lease_seconds=1.0):
        await world.ends("completed", number=pupils)

    verdict = await world.schools.verify()
    assert verdict.clean
    owners = world.schools.seeded.owners
    assert all(place == destination_of[owners[row]] for row, place in verdict.places.items())
    for school in (first, second, third):
        assert await school.fetch("SELECT * FROM transfer_hold") == []
    stored = await world.schools.store.list("tenants/")
    ours = [entry for entry in stored if entry.key.split("/")[1] in world.schools.known]
    assert len(ours) == pupils * RECORDS.attachments
    print(f"kills={killed} moves={pupils}")  # noqa: T201 - reported by `make faults`


async def _unfinished(world: TransferWorld) -> bool:
    return any(transfer["state"] != "completed" for transfer in await world.transfers())


async def _first_claim(world: TransferWorld) -> None:
    """Until the new mover has claimed something, so that the kill meets it at work."""
    before = sum(transfer["epoch"] for transfer in await world.transfers())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while sum(transfer["epoch"] for transfer in await world.transfers()) == before and await _unfinished(world):
            await asyncio.sleep(0.02)
