"""The match secret is rotated while pupils wait, move and have moved: each ends where they belong, exactly once."""

import asyncio
import os
import signal
import sys
from datetime import date
from typing import Any

import httpx

from cpro_test_support.depth import slow
from cpro_test_support.import_world import School, environment_of
from cpro_test_support.privacy_world import NEW_SECRET, PrivacyWorld, new_secret
from cpro_test_support.siecle_samples import SamplePupil, rnie_ine
from cpro_test_support.transfers import eventually
from cpro_transfer.bootstrap import Work
from cpro_transfer.domain.support import Order

ORDER = Order("a-support", "support", "CPRO-77001")
NOT_MOVING = Work.JOIN | Work.RELAY
_numbers = iter(range(640_000_001, 650_000_000))


def a_pupil() -> SamplePupil:
    number = next(_numbers)
    return SamplePupil(
        siecle_id=str(number), ine=rnie_ine(number), family_name=f"NOM{number}", first_name="Camille",
        birth_date=date(2009, 4, 12), division="2 MCV",
    )  # fmt: skip


async def where_it_is(both: PrivacyWorld) -> dict[str, int]:
    """How many of the seeded records each school has; none may be lost, doubled or changed."""
    verdict = await both.doors.verify()
    assert verdict.clean, verdict
    places = list(verdict.places.values())
    return {uai: places.count(uai) for uai in sorted(set(places))}


async def receipts(both: PrivacyWorld, school: School) -> list[tuple[Any, ...]]:
    return await both.doors.known[school.uai].fetch("SELECT transfer_id, direction FROM transfer_receipt")


async def test_pupils_who_wait_before_during_and_after_a_rotation_arrive_once(both: PrivacyWorld) -> None:
    before, during, after, moved = a_pupil(), a_pupil(), a_pupil(), a_pupil()
    async with both.transferring():
        async with both.importing() as old:
            origin, destination = await both.schools(old)
            await both.has(origin, before, during, moved, *[a_pupil() for _ in range(4)], records=True)
            await both.loses(origin, before, during, moved)
            await both.has(destination, moved, *(a_pupil() for _ in range(3)))
            await both.ends("completed")
            first = await both.rotated()
            await both.has(destination, during)  # by a worker that has the old secret still
        async with both.importing(**new_secret()):
            second = await both.rotated()
            await both.has(destination, before)
            await both.has(origin, after, records=True)
            await both.loses(origin, after)
            await both.has(destination, after)
            await both.ends("completed", 4)
            await both.taken_in()
            third = await both.rotated()

    transfers = await both.transfers()
    assert [row["state"] for row in transfers] == ["completed"] * 4
    assert {row["match_key"].split(":")[1] for row in transfers} == {"2"}
    assert await where_it_is(both) == {origin.uai: 4 * 4, destination.uai: 4 * 4}
    assert len(await receipts(both, origin)) == len(await receipts(both, destination)) == 4
    assert (first[origin.uai].pupils, first[destination.uai].pupils) == (7, 4)
    assert (second[origin.uai].pupils, second[destination.uai].pupils) == (0, 1)
    assert [one.pupils + one.held for one in third.values()] == [0, 0]


async def test_what_was_undone_or_cancelled_stands_under_the_new_key(
    both: PrivacyWorld, importing: httpx.ASGITransport
) -> None:
    origin, destination = await both.schools(importing)
    undone, cancelled = a_pupil(), a_pupil()
    await both.has(origin, undone, cancelled, a_pupil(), a_pupil(), records=True)
    await both.loses(origin, undone)
    async with both.transferring() as service:
        await both.has(destination, undone, a_pupil())
        (first,) = await both.ends("completed")
        await service.support.undo(first["id"], ORDER, dry_run=False)
        await both.ends("undone")
    async with both.transferring(NOT_MOVING) as service:
        await both.loses(origin, cancelled)
        await both.has(destination, cancelled)
        (planned,) = await both.ends("planned")
        await service.support.cancel(planned["id"], ORDER, dry_run=False)

    await both.rotated()
    async with both.transferring():
        await both.taken_in()
        states = {row["id"]: row["state"] for row in await both.transfers()}
        keys = {row["match_key"][:6] for row in await both.transfers()}

    assert states == {first["id"]: "undone", planned["id"]: "cancelled"}
    assert keys == {"ine:2:"}
    assert await where_it_is(both) == {origin.uai: 4 * 4}


async def test_a_pupil_held_for_a_transfer_keeps_the_key_until_it_has_ended(
    both: PrivacyWorld, importing: httpx.ASGITransport
) -> None:
    origin, destination = await both.schools(importing)
    pupil = a_pupil()
    await both.has(origin, pupil, a_pupil(), records=True)
    await both.loses(origin, pupil)
    async with both.transferring(NOT_MOVING):
        await both.has(destination, pupil)
        (planned,) = await both.ends("planned")
    door = both.doors.known[origin.uai]
    await door.execute(
        "INSERT INTO transfer_hold (pupil_id, transfer_id, epoch, claim, opt_in) VALUES (%s, %s, 0, gen_random_uuid(),"
        " '{}')", planned["origin_pupil_id"], planned["id"],
    )  # fmt: skip
    # As a mover leaves it that died right after the hold.
    async with both.database.begin() as tx:
        await tx.execute("UPDATE transfer SET state = 'holding', due_at = now() WHERE id = %s", (planned["id"],))

    first = await both.rotated()
    ((kept,),) = await door.fetch("SELECT match_key FROM pupil WHERE id = %s", planned["origin_pupil_id"])
    async with both.transferring(NOT_MOVING):
        await both.taken_in()
    async with both.transferring():
        await both.rotated()  # the hold is taken over by the mover, and the key follows once it has ended

        async def rekeyed() -> bool | None:
            await both.rotated()
            (row,) = await door.fetch("SELECT match_key FROM pupil WHERE id = %s", planned["origin_pupil_id"])
            return True if row[0].startswith("ine:2:") else None

        await eventually(rekeyed)
        await both.ends("completed")

    assert first[origin.uai].held == 1
    assert kept == planned["match_key"]
    assert (await where_it_is(both))[destination.uai] == 4
    assert len(await both.transfers("completed")) == 1
    assert len(await receipts(both, destination)) == 1


@slow
async def test_a_rotation_that_is_killed_is_finished_by_the_next(
    both: PrivacyWorld, importing: httpx.ASGITransport
) -> None:
    origin, destination = await both.schools(importing)
    pupils = [a_pupil() for _ in range(5)]
    await both.has(origin, *pupils, records=True)
    await both.loses(origin, pupils[0])
    await both.has(destination, pupils[0])

    killed = await _rotate_process(both, crash_at="rotation.rekeyed")
    seen = await both.rotated(dry_run=True)
    done = await _rotate_process(both)
    async with both.transferring():
        await both.ends("completed")

    assert (killed, done) == (-signal.SIGKILL, 0)
    assert sum(one.pupils for one in seen.values()) >= 5
    assert sum(one.pupils for one in (await both.rotated()).values()) == 0
    assert await where_it_is(both) == {origin.uai: 4 * 4, destination.uai: 4}


async def _rotate_process(both: PrivacyWorld, *, crash_at: str | None = None) -> int:
    """`cpro-siecle-import rotate` with the new secret, as operations run it; its exit status."""
    environment = environment_of(both.config) | {
        "CPRO_SIECLE_IMPORT_MATCH_SECRET": NEW_SECRET,
        "CPRO_SIECLE_IMPORT_MATCH_SECRET_VERSION": "2",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from cpro_siecle_import.entrypoints.cli import app; app()", "rotate",
        env=os.environ | environment | ({"CPRO_CRASH_AT": crash_at} if crash_at else {}),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait()
