"""Each server that the join, the relay and the import worker need goes away at each of their points, and comes back.

As for the mover: a real process, stopped at exactly that point, meets the outage, lives through it, ends what it had in
hand, and then does something new.
"""

import signal
from typing import Any

import pytest

from cpro_test_support.faults.importing import Importing
from cpro_test_support.faults.journeys import Journeys
from cpro_test_support.faults.outages import Dependency, Outages, Way
from cpro_test_support.faults.processes import Zygote
from cpro_test_support.transfers import environment_of

SESSION_SECONDS = 1.5


def _cells(
    points: tuple[str, ...], needed: tuple[Dependency, ...], in_every_run: tuple[str, Dependency] | None
) -> list[Any]:
    return [
        pytest.param(
            point,
            dependency,
            way,
            id=f"{point}-{dependency}-{way}",
            marks=[] if (point, dependency) == in_every_run else [pytest.mark.faults],
        )
        for row, point in enumerate(points)
        for column, dependency in enumerate(needed)
        for way in [list(Way)[(row + column) % 2]]
    ]


@pytest.mark.parametrize(
    ("point", "dependency", "way"),
    _cells(
        ("join.applied", "consumer.handled"),
        (Dependency.SERVICE_DATABASE, Dependency.KAFKA),
        None,
    ),
)
async def test_a_join_waits_until_what_it_needs_is_back_and_goes_on(
    journeys: Journeys, zygote: Zygote, outages: Outages, point: str, dependency: Dependency, way: Way
) -> None:
    origin, destination = await journeys.pair()
    await journeys.changes_school(origin, destination)
    settings = journeys.world.config.model_copy(update={"consumer_session_seconds": SESSION_SECONDS})
    join = await zygote.start("transfer", "join", environment_of(settings), crash_at=f"{point}:stop")
    await journeys.publish()
    await join.asleep()

    so_far = join.log_size
    async with outages.of(dependency, way, f"join: {point}"):
        join.send(signal.SIGCONT)
        if dependency is Dependency.SERVICE_DATABASE:
            # Where it has nothing left to write, the next message meets the outage.
            await origin.opts_in()
            await journeys.publish()
        await join.says(lambda line: _waits(dependency, line), since=so_far)
    async with journeys.reconnected() as after:
        await after.changes_school(after.world.schools.known[origin.uai], after.world.schools.known[destination.uai])
        await after.publish()
        await after.are_planned(2)
        await zygote.start("transfer", "move", environment_of(settings))
        await after.at_rest()
        findings = await after.examined()

    assert findings.nothing, findings
    assert join.running


@pytest.mark.parametrize(
    ("point", "dependency", "way"),
    _cells(
        ("outbox.published",),
        (Dependency.SERVICE_DATABASE, Dependency.KAFKA),
        ("outbox.published", Dependency.SERVICE_DATABASE),
    ),
)
async def test_a_relay_waits_until_what_it_needs_is_back_and_goes_on(
    journeys: Journeys, zygote: Zygote, outages: Outages, point: str, dependency: Dependency, way: Way
) -> None:
    """Stopped between Kafka's acknowledgement and the note of it: it may say it twice, and never nothing."""
    origin, destination = await journeys.pair()
    await journeys.changes_school(origin, destination)
    await journeys.world.take_in_events()
    environment = environment_of(journeys.world.config)
    relay = await zygote.start("transfer", "relay", environment, crash_at=f"{point}:stop")
    await relay.asleep()

    so_far = relay.log_size
    async with outages.of(dependency, way, f"relay: {point}"):
        relay.send(signal.SIGCONT)
        if dependency is Dependency.KAFKA:
            # What it had in hand is on Kafka already; the next event meets the outage.
            await journeys.changes_school(origin, destination)
            await journeys.world.take_in_events()
        await relay.says(lambda line: _waits(dependency, line), since=so_far)
    async with journeys.reconnected() as after:
        await after.publish()
        mover = await zygote.start("transfer", "move", environment)
        await after.at_rest()
        await after.changes_school(after.world.schools.known[origin.uai], after.world.schools.known[destination.uai])
        await after.world.take_in_events()
        await after.publish()
        await after.at_rest()
        await after.all_told()
        findings = await after.examined(published=True)

    assert findings.nothing, findings
    assert relay.running
    assert mover.running


@pytest.mark.parametrize(
    ("point", "dependency", "way"),
    _cells(
        (
            "import.claimed",
            "import.parsed",
            "import.applied",
            "outbox.published",
            "import.published",
            "consumer.handled",
        ),
        (Dependency.SERVICE_DATABASE, Dependency.ORIGIN, Dependency.STORE, Dependency.KAFKA),
        ("import.applied", Dependency.ORIGIN),
    ),
)
async def test_an_import_worker_waits_until_what_it_needs_is_back_and_goes_on(
    importing: Importing, zygote: Zygote, outages: Outages, point: str, dependency: Dependency, way: Way
) -> None:
    worker = await zygote.start("siecle_import", "worker", importing.environment, crash_at=f"{point}:stop")
    first = await importing.asks_for(40)
    await worker.asleep()
    # Next in line: where the first has no more need of what is away, this one meets the outage.
    second = await importing.asks_for(41)

    so_far = worker.log_size
    async with outages.of(dependency, way, f"import: {point}"):
        worker.send(signal.SIGCONT)
        await worker.says(lambda line: _waits(dependency, line), since=so_far)
    await importing.is_completed(first, created=40)
    await importing.is_completed(second, created=1)
    third = await importing.asks_for(42)
    await importing.is_completed(third, created=1)

    await importing.has_lost_and_doubled_nothing(pupils=42)
    assert worker.running


def _waits(dependency: Dependency, line: dict[str, Any]) -> bool:
    """Whether this line of its log says that the process waits for this dependency."""
    if line.get("logger", "").startswith("aiokafka"):
        return dependency is Dependency.KAFKA
    return line["event"] in {
        "consumer.waiting",
        "consumer.commit_postponed",
        "outbox.waiting",
        "import.postponed",
    }
