"""Each server that a mover needs goes away while the mover is at each of its steps, and comes back: as if it had not.

The mover is a real process, stopped (SIGSTOP) at exactly that point. It must meet the outage, live through it, and carry
to its end what it had in hand and what comes afterwards.
"""

import signal
from typing import Any

import pytest

from cpro_test_support.faults.journeys import Journeys
from cpro_test_support.faults.outages import Dependency, Outages, Way
from cpro_test_support.faults.points import OF_THE_MOVER
from cpro_test_support.faults.processes import Zygote
from cpro_test_support.transfers import environment_of

NEEDED = (Dependency.ORIGIN, Dependency.DESTINATION, Dependency.SERVICE_DATABASE, Dependency.STORE)
IN_EVERY_RUN = {
    ("move.landed", Dependency.DESTINATION),
}


def _cells() -> list[Any]:
    """Every point by every dependency, in good order and killed in turn."""
    return [
        pytest.param(
            point,
            dependency,
            way,
            id=f"{point}-{dependency}-{way}",
            marks=[] if (point, dependency) in IN_EVERY_RUN else [pytest.mark.faults],
        )
        for row, point in enumerate(OF_THE_MOVER)
        for column, dependency in enumerate(NEEDED)
        for way in [list(Way)[(row + column) % 2]]
    ]


@pytest.mark.parametrize(("point", "dependency", "way"), _cells())
async def test_a_mover_waits_until_what_it_needs_is_back_and_goes_on(
    journeys: Journeys, zygote: Zygote, outages: Outages, point: str, dependency: Dependency, way: Way
) -> None:
    origin, destination = await journeys.pair()
    another_origin, another_destination = await journeys.pair()
    await journeys.changes_school(origin, destination)
    # Next in line: where the first has no more need of what is away, this one meets the outage.
    await journeys.changes_school(another_origin, another_destination)
    await journeys.world.take_in_events()
    settings = journeys.world.config.model_copy(
        update={"concurrent_batches": 1, "lease_seconds": 6.0, "idle_in_transaction_seconds": 5.0}
    )
    mover = await zygote.start("transfer", "move", environment_of(settings), crash_at=f"{point}:stop")

    await mover.asleep()
    so_far = mover.log_size
    async with outages.of(dependency, way, point):
        mover.send(signal.SIGCONT)
        await mover.says(lambda line: _has_met(dependency, line), since=so_far)
    await journeys.at_rest()
    async with journeys.reconnected() as after:
        await after.changes_school(after.world.schools.known[origin.uai], after.world.schools.known[destination.uai])
        await after.world.take_in_events()
        await after.at_rest()
        findings = await after.examined()

    assert findings.nothing, findings
    assert mover.running


def _has_met(dependency: Dependency, line: dict[str, Any]) -> bool:
    """Whether this line of its log says that the mover waits for this very dependency."""
    match dependency:
        case Dependency.SERVICE_DATABASE:
            return bool(line["event"] == "mover.waiting")
        case Dependency.STORE:
            return bool(line["event"] == "transfer.postponed" and line["error"] == "StoreUnavailableError")
        case _:
            return bool(line["event"] == "transfer.postponed" and line["error"] != "StoreUnavailableError")
