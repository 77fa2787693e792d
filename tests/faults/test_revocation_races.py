"""A revocation that races with the hold: accepted, and nothing moves by it; or refused, and the records move.

There is no third way. The tries differ in when the revocation comes, from before the claim until after the landing.
"""

import asyncio
import logging
import random
from collections import Counter
from uuid import UUID

import pytest

from cpro_test_support.authorising import Desk, announced, desk_of, enters, leaves_for_a_cfa
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually
from cpro_transfer.bootstrap import Work

ONE_REPORT = Amounts(reports=1, activity_sheets=0, assessments=0, passports=0, passport_entries=0, attachments=0)
_AT_ONCE = 20
_log = logging.getLogger(__name__)


@pytest.mark.parametrize(
    "tries",
    [
        pytest.param(20, id="short"),
        pytest.param(1_000, id="long", marks=[pytest.mark.faults, pytest.mark.timeout(3600)]),
    ],
)
async def test_a_revocation_is_either_in_time_or_refused(world: TransferWorld, servers: Servers, tries: int) -> None:
    dice = random.Random(20261125)
    origin, cfa, _ = await leaves_for_a_cfa(world)
    outcomes: Counter[int] = Counter()
    async with desk_of(world, servers, Work.MOVE, batch_pupils=3, concurrent_batches=3) as desk:
        for _ in range(tries // _AT_ONCE):
            leavers = [await _replayed(origin, cfa, desk, number) for number in range(_AT_ONCE)]
            taking_in = asyncio.create_task(world.take_in_events())
            answers = await asyncio.gather(
                *(_revoke_after(desk, origin, pupil, dice.uniform(0, 1.5)) for pupil, _ in leavers)
            )
            await taking_in
            for (pupil, authorisation), status in zip(leavers, answers, strict=True):
                outcomes[status] += 1
                await _ends_as_was_answered(world, pupil, authorisation, moves=status == 409)

    assert sum(outcomes.values()) == tries
    assert set(outcomes) <= {200, 409}
    assert (await world.schools.verify()).clean
    for school in (origin, cfa):
        assert await school.fetch("SELECT * FROM transfer_hold") == []
    _log.warning("%s tries: %s revoked in time, %s too late", tries, outcomes[200], outcomes[409])


async def _replayed(origin: School, cfa: School, desk: Desk, number: int) -> tuple[UUID, str]:
    name = f"PUPIL {number}"
    leaver = await origin.has(None, family_name=name, records=ONE_REPORT)
    await origin.loses(leaver)
    arrived = await enters(cfa, family_name=name)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)
    assert (await desk.replay(authorisation, pupil_id=str(arrived))).status_code == 200
    return leaver, authorisation


async def _revoke_after(desk: Desk, origin: School, pupil: UUID, seconds: float) -> int:
    await asyncio.sleep(seconds)  # when it comes is the experiment
    return (await desk.revoke(origin, pupil)).status_code


async def _ends_as_was_answered(world: TransferWorld, pupil: UUID, authorisation: str, *, moves: bool) -> None:
    async def ended() -> bool | None:
        (transfer,) = await world.transfers(origin_pupil_id=pupil)
        if transfer["state"] not in {"completed", "held"}:
            return None
        assert transfer["state"] == ("completed" if moves else "held")
        assert moves or transfer["reason"] == "authorisation_revoked"
        return True

    await eventually(ended, lambda: world.transfers(origin_pupil_id=pupil))
    left = await world.schools.known[(await world.transfers(origin_pupil_id=pupil))[0]["origin_uai"]].fetch(
        "SELECT count(*) FROM report WHERE pupil_id = %s", pupil
    )
    assert left == [(0 if moves else 1,)]
    revoked = await announced(world, authorisation)
    assert ("cpro.transfer.authorisation-revoked.v1" in revoked) is not moves
