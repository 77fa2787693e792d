"""Pupils come back, go on, have two schools, and administrators change their minds: while records are on their way."""

import asyncio

import psycopg
import pytest

from cpro_test_support.records import Amounts
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Work

RECORDS = Amounts(reports=2, activity_sheets=1, assessments=1, attachments=1)
JOIN_BY_HAND = Work.MOVE | Work.RELAY


async def test_a_pupil_who_comes_back_before_the_move_keeps_everything(world: TransferWorld) -> None:
    origin, _, leaver = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    await origin.has_again(leaver)
    await world.take_in_events()

    async with world.service(JOIN_BY_HAND):
        (transfer,) = await world.ends("cancelled")

    assert transfer["reason"] == "returned"
    assert set((await world.schools.verify()).places.values()) == {origin.uai}


async def test_a_pupil_present_at_two_schools_waits_until_one_lets_go(world: TransferWorld) -> None:
    origin, first, second = await world.schools.opted_in(new_uai(), new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, records=RECORDS)
    there = await first.has(ine)
    await second.has(ine)

    async with world.service():
        await origin.loses(leaver)
        (held,) = await world.ends("held", reason="ambiguous_destination")
        await first.loses(there)
        await world.ends("completed", origin_uai=origin.uai)

    assert held["destination_uai"] is None
    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {second.uai}


async def test_records_follow_from_school_to_school_and_home_again(world: TransferWorld) -> None:
    home, away = await world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    here = await home.has(ine, records=RECORDS)

    async with world.service():
        await home.loses(here)
        there = await away.has(ine)
        await world.ends("completed", origin_uai=home.uai)
        assert set((await world.schools.verify()).places.values()) == {away.uai}
        await home.has_again(here)
        await away.loses(there)
        await world.ends("completed", origin_uai=away.uai)

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {home.uai}


async def test_replaying_every_event_after_the_move_changes_nothing(world: TransferWorld) -> None:
    _, _, _ = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()

    async with world.service(JOIN_BY_HAND):
        await world.ends("completed")
        before = await world.transfers()
        await world.take_in_events()
        await world.at_rest()

    assert await world.transfers() == before
    assert (await world.schools.verify()).clean


async def test_a_corrected_ine_is_not_a_departure(world: TransferWorld) -> None:
    origin, other = await world.schools.opted_in(new_uai(), new_uai())
    wrong, right = new_ine(), new_ine()
    pupil = await origin.has(wrong, records=RECORDS)
    await other.has(wrong)

    await origin.corrects_ine(pupil, right)
    await world.take_in_events()

    assert await world.transfers() == []


async def test_one_pupil_whom_the_databases_refuse_does_not_keep_the_others(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    pupils = {}
    for number in range(5):
        ine = new_ine()
        leaver = await origin.has(ine, records=RECORDS)
        await origin.loses(leaver)
        await destination.has(ine, first_name="Baptiste" if number == 2 else "Camille")
        pupils[leaver] = number
    await world.take_in_events()

    async with world.service(JOIN_BY_HAND):
        await world.ends("completed", number=4)
        (held,) = await world.ends("held")

    assert held["reason"] == "identity_mismatch"
    assert pupils[held["origin_pupil_id"]] == 2
    assert (await world.schools.verify()).clean


async def test_an_error_that_nobody_foresaw_holds_its_culprit_alone(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    leavers = []
    for _ in range(4):
        ine = new_ine()
        leavers.append(await origin.has(ine, records=RECORDS))
        await origin.loses(leavers[-1])
        await destination.has(ine)
    # A report that the destination already has: the landing of this pupil breaks its primary key.
    ((report,),) = await origin.fetch("SELECT id FROM report WHERE pupil_id = %s LIMIT 1", leavers[1])
    other = await destination.has(new_ine())
    await destination.execute("INSERT INTO report (id, pupil_id, title) VALUES (%s, %s, 'in the way')", report, other)
    await world.take_in_events()

    async with world.service(JOIN_BY_HAND):
        await world.ends("completed", number=3)
        (held,) = await world.ends("held")

    assert (held["reason"], held["origin_pupil_id"]) == ("landing_refused", leavers[1])
    verdict = await world.schools.verify()
    assert not verdict.lost
    assert verdict.doubled == {("report", report)}
    assert await origin.fetch("SELECT * FROM transfer_hold") == []


async def test_a_table_that_nobody_declared_stops_the_move(world: TransferWorld) -> None:
    origin, _, _ = await world.a_pupil_changes_school(RECORDS)
    await origin.execute("CREATE TABLE internship (id uuid PRIMARY KEY, pupil_id uuid REFERENCES pupil)")
    await world.take_in_events()

    async with world.service(JOIN_BY_HAND):
        (held,) = await world.ends("held")

    assert held["reason"] == "catalogue_incomplete"
    assert set((await world.schools.verify()).places.values()) == {origin.uai}


async def test_a_file_that_can_not_be_read_keeps_the_records_where_they_are(world: TransferWorld) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    ((key,),) = await origin.fetch("SELECT object_key FROM attachment")
    await world.schools.store.put(key, b"other bytes than were recorded")
    await world.take_in_events()

    async with world.service(JOIN_BY_HAND):
        (held,) = await world.ends("held")

    assert held["reason"] == "attachment_unreadable"
    assert set((await world.schools.verify()).places.values()) == {origin.uai}
    assert await world.schools.store.list(f"tenants/{destination.uai}/") == []


async def test_a_teacher_who_writes_during_the_move_is_refused_or_moves_along(world: TransferWorld) -> None:
    origin, destination, leaver = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    written: list[str] = []
    refusals: list[str | None] = []

    async def write() -> None:
        """Until a write is refused, then one more."""
        for number in range(10_000):
            try:
                await origin.execute("INSERT INTO report (pupil_id, title) VALUES (%s, %s)", leaver, f"late {number}")
            except psycopg.Error as refusal:
                refusals.append(refusal.sqlstate)
                return
            written.append(f"late {number}")

    teacher = asyncio.create_task(write())
    async with world.service(JOIN_BY_HAND):
        await world.ends("completed")
        await teacher

    assert set(refusals) <= {"CP001", "CP002"}
    arrived = {title for (title,) in await destination.fetch("SELECT title FROM report WHERE title LIKE 'late %%'")}
    assert arrived == set(written)
    assert (await world.schools.verify()).clean
    with pytest.raises(psycopg.Error, match="have moved to another establishment"):
        await origin.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'too late')", leaver)


async def test_rows_that_arrive_otherwise_than_they_left_are_not_landed(world: TransferWorld) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    # What a meddling trigger, or another server version, might do to a value.
    await destination.execute(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.title := upper(NEW.title) || '!'; RETURN NEW; END $$;"
        " CREATE TRIGGER shout BEFORE INSERT ON report FOR EACH ROW EXECUTE FUNCTION shout()"
    )
    await world.take_in_events()

    async with world.service(JOIN_BY_HAND):
        (held,) = await world.ends("held")

    assert held["reason"] == "digest_mismatch"
    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {origin.uai}
    assert await destination.fetch("SELECT * FROM transfer_receipt") == []
