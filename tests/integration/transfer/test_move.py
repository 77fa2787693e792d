"""The records follow the pupil: what an administrator would see, on the real servers."""

from datetime import date

import pytest

from cpro_test_support.records import Amounts
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Work

RECORDS = Amounts()
_MOVE = Work.MOVE | Work.RELAY


async def test_the_records_follow_a_pupil_who_leaves_and_then_arrives(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, records=RECORDS)

    async with world.service():
        await origin.loses(leaver)
        await destination.has(ine)
        (transfer,) = await world.ends("completed")

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {destination.uai}
    assert transfer["records"] == len(world.schools.seeded.rows)
    assert await world.published(transfer["id"]) == ["cpro.transfer.planned.v1", "cpro.transfer.completed.v1"]


async def test_the_order_of_arrival_departure_and_opt_in_does_not_matter(world: TransferWorld) -> None:
    origin, destination = await world.schools.create(new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, records=RECORDS)

    async with world.service():
        await destination.has(ine)
        await destination.opts_in()
        await origin.loses(leaver)
        await origin.opts_in()
        await world.ends("completed")

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {destination.uai}


async def test_both_receipts_say_the_same(world: TransferWorld) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)

    await world.take_in_events()
    async with world.service():
        await world.ends("completed")

    said = "SELECT tables, origin_opt_in, destination_opt_in, origin_import_id, destination_import_id FROM transfer_receipt"
    (left,) = await origin.fetch(said)
    (arrived,) = await destination.fetch(said)
    assert left == arrived
    assert {name: table["count"] for name, table in left[0].items()} == {
        "report": 3, "activity_sheet": 4, "assessment": 6, "professional_passport": 1, "passport_entry": 4, "attachment": 2,
    }  # fmt: skip


async def test_the_old_objects_are_gone_and_the_new_ones_are_under_the_destination(world: TransferWorld) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)

    await world.take_in_events()
    async with world.service():
        await world.ends("completed")

    assert await world.schools.store.list(f"tenants/{origin.uai}/") == []
    assert len(await world.schools.store.list(f"tenants/{destination.uai}/")) == RECORDS.attachments


async def test_a_shared_ine_with_another_birth_date_never_moves_records(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, born=date(2009, 1, 2), records=RECORDS)
    await origin.loses(leaver)
    await destination.has(ine, born=date(2010, 5, 6))

    await world.take_in_events()
    async with world.service():
        (transfer,) = await world.ends("held")

    assert transfer["reason"] == "identity_mismatch"
    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {origin.uai}
    assert await origin.fetch("SELECT * FROM transfer_hold") == []


async def test_an_opt_in_withdrawn_in_the_database_stops_a_move_that_the_events_call_for(world: TransferWorld) -> None:
    origin, _, _ = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()

    # The event of this change is on its way: the databases alone know.
    await origin.execute("UPDATE transfer_opt_in SET enabled = false")
    async with world.service(work=_MOVE):
        (transfer,) = await world.ends("held")

    assert transfer["reason"] == "origin_not_opted_in"
    assert set((await world.schools.verify()).places.values()) == {origin.uai}


@pytest.mark.parametrize("closed", ["destination", "pupil"])
async def test_what_the_destination_itself_says_decides_the_landing(world: TransferWorld, closed: str) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()

    change = (
        "UPDATE transfer_opt_in SET enabled = false" if closed == "destination" else "UPDATE pupil SET active = false"
    )
    await destination.execute(change)
    async with world.service(work=_MOVE):
        (transfer,) = await world.ends("held")

    assert transfer["reason"] == ("destination_not_opted_in" if closed == "destination" else "not_arrived")
    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {origin.uai}
    assert await origin.fetch("SELECT * FROM transfer_hold") == []
    assert await world.schools.store.list(f"tenants/{destination.uai}/") == []
