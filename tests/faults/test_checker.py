"""The checker sees what it is there to see: each kind of damage, done by hand, is found and called by its name."""

from collections.abc import Awaitable, Callable

import pytest

from cpro_test_support.faults import tally
from cpro_test_support.faults.journeys import Journeys
from cpro_test_support.faults.processes import Zygote
from cpro_test_support.schools import School
from cpro_test_support.transfers import environment_of

Damage = Callable[[Journeys, School, School], Awaitable[None]]


async def _a_record_is_deleted(_: Journeys, __: School, destination: School) -> None:
    await destination.execute("DELETE FROM assessment")


async def _a_record_is_changed(_: Journeys, __: School, destination: School) -> None:
    await destination.execute("UPDATE report SET title = title || '!'")


async def _a_file_is_removed(journeys: Journeys, _: School, destination: School) -> None:
    ((key,),) = await destination.fetch("SELECT object_key FROM attachment")
    await journeys.world.schools.store.remove(key)


async def _a_record_is_at_both(_: Journeys, origin: School, destination: School) -> None:
    ((report, title),) = await destination.fetch("SELECT id, title FROM report LIMIT 1")
    ((leaver,),) = await origin.fetch("SELECT id FROM pupil")
    await origin.execute("UPDATE pupil SET records_moved_at = NULL, active = true")
    await origin.execute("INSERT INTO report (id, pupil_id, title) VALUES (%s, %s, %s)", report, leaver, title)


async def _a_completion_is_said_twice(journeys: Journeys, _: School, __: School) -> None:
    async with journeys.world.database.begin() as tx:
        await tx.execute(
            "INSERT INTO outbox (topic, key, type, source, subject, occurred_at, payload)"
            " SELECT topic, key, type, source, subject, occurred_at, payload FROM outbox WHERE type LIKE '%completed%'"
        )


async def _a_hold_is_left(journeys: Journeys, origin: School, _: School) -> None:
    (transfer,) = await journeys.world.transfers()
    await origin.execute(
        "INSERT INTO transfer_hold (pupil_id, transfer_id, epoch, claim, opt_in)"
        " SELECT id, %s, 1, gen_random_uuid(), '{}' FROM pupil",
        transfer["id"],
    )


async def _an_object_is_left(journeys: Journeys, _: School, destination: School) -> None:
    await journeys.world.schools.store.put(f"tenants/{destination.uai}/attachments/nobody's", b"left behind")


async def _a_receipt_is_at_one_end(_: Journeys, origin: School, __: School) -> None:
    await origin.execute("DELETE FROM transfer_receipt")


async def _the_receipts_differ(_: Journeys, origin: School, __: School) -> None:
    await origin.execute("UPDATE transfer_receipt SET tables = '{}'")


async def _a_transfer_has_not_ended(journeys: Journeys, _: School, __: School) -> None:
    async with journeys.world.database.begin() as tx:
        await tx.execute("UPDATE transfer SET state = 'landed'")


async def _the_pupil_is_elsewhere(journeys: Journeys, origin: School, _: School) -> None:
    journeys.expected.update(dict.fromkeys(journeys.expected, origin.uai))


async def _an_event_waits(journeys: Journeys, _: School, __: School) -> None:
    async with journeys.world.database.begin() as tx:
        await tx.execute("UPDATE outbox SET published_at = NULL WHERE position = 1")


async def _an_event_is_only_marked(journeys: Journeys, _: School, __: School) -> None:
    async with journeys.world.database.begin() as tx:
        await tx.execute("UPDATE outbox SET id = gen_random_uuid(), published_at = now() WHERE position = 1")


DAMAGES: tuple[tuple[Damage, str], ...] = (
    (_the_pupil_is_elsewhere, "stuck"),
    (_an_event_waits, "stuck"),
    (_an_event_is_only_marked, "lost"),
    (_a_completion_is_said_twice, "doubled"),
    (_a_record_is_changed, "lost"),
    (_a_record_is_at_both, "doubled"),
    (_a_record_is_deleted, "lost"),
    (_a_file_is_removed, "lost"),
    (_an_object_is_left, "half"),
    (_the_receipts_differ, "half"),
    (_a_hold_is_left, "half"),
    (_a_receipt_is_at_one_end, "half"),
    (_a_transfer_has_not_ended, "stuck"),
)


async def test_each_damage_is_found_and_called_by_its_name(
    journeys: Journeys, zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after another, in the same place: each adds to what is found."""
    monkeypatch.delenv(tally.VARIABLE, raising=False)  # done on purpose: they are no findings of the run
    origin, destination = await journeys.pair()
    await journeys.changes_school(origin, destination)
    await journeys.world.take_in_events()
    await journeys.publish()
    environment = environment_of(journeys.world.config)
    for command in ("move", "relay"):
        await zygote.start("transfer", command, environment)
    await journeys.at_rest()
    await journeys.all_told()
    await zygote.end()
    found = await journeys.examined(published=True)
    assert found.nothing, found

    for damage, kind in DAMAGES:
        await damage(journeys, origin, destination)
        now = await journeys.examined(published=True)
        assert set(getattr(now, kind)) - set(getattr(found, kind)), f"{damage.__name__} is not found as {kind}"
        found = now
