"""What is kept no longer goes, and only that; what stays of a chain of receipts can still be verified."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from cpro_platform.clock import Clock
from cpro_platform.metrics import Metrics
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.handlers.retaining import Forgotten

ONE = Amounts(reports=1, activity_sheets=0, assessments=0, passports=0, passport_entries=0, attachments=0)
FIVE_YEARS, A_YEAR_AND_MORE = timedelta(days=1830), timedelta(days=410)


class LaterClock:
    """The time in so long."""

    def __init__(self, later: timedelta) -> None:
        self._later = later

    def now(self) -> datetime:
        return datetime.now(UTC) + self._later


async def job(world: TransferWorld, later: timedelta, *, dry_run: bool = False) -> Forgotten:
    clock: Clock = LaterClock(later)
    async with Service(world.config, clock=clock, work=Work.NOTHING) as service:
        return await service.forget(dry_run=dry_run)


async def a_moved_pupil(world: TransferWorld, *schools: School) -> tuple[School, School, UUID]:
    if not schools:
        schools = tuple(await world.schools.opted_in(new_uai(), new_uai()))
    origin, destination = schools
    ine = new_ine()
    leaver = await origin.has(ine, records=ONE)
    await origin.loses(leaver)
    await destination.has(ine)
    await world.take_in_events()
    async with world.service(Work.MOVE | Work.RELAY):
        await world.ends("completed", origin_pupil_id=leaver)
    return origin, destination, leaver


async def receipts(school: School) -> int:
    ((number,),) = await school.fetch("SELECT count(*) FROM transfer_receipt")
    return int(number)


async def age(school: School, days: int) -> None:
    """Write the receipts that are there as if it had been so long ago: the chain is made anew."""
    await school.execute(f"UPDATE transfer_receipt SET written_at = written_at - interval '{days} days'")
    await school.execute("UPDATE transfer_receipt SET hash = hash_of_receipt(transfer_receipt)")
    await school.execute("UPDATE transfer_receipt_chain c SET hash = r.hash FROM transfer_receipt r"
                         " WHERE r.sequence = c.sequence")  # fmt: skip


async def test_old_receipts_go_and_the_others_still_verify(world: TransferWorld) -> None:
    origin, destination, _ = await a_moved_pupil(world)
    for school in (origin, destination):
        await age(school, 1900)
    await a_moved_pupil(world, origin, destination)
    assert await world.receipt_findings() == {}

    dry = await job(world, timedelta(), dry_run=True)
    before = (await receipts(origin), await receipts(destination))
    done = await job(world, timedelta())
    again = await job(world, timedelta())

    assert dry.rows["receipts"] == done.rows["receipts"] == 2
    assert again.rows["receipts"] == 0
    assert before == (2, 2)
    assert (await receipts(origin), await receipts(destination)) == (1, 1)
    assert await world.receipt_findings() == {}


async def test_a_chain_goes_on_when_all_its_receipts_have_gone(world: TransferWorld) -> None:
    origin, destination, _ = await a_moved_pupil(world)
    await job(world, FIVE_YEARS)
    assert (await receipts(origin), await receipts(destination)) == (0, 0)
    assert await world.receipt_findings() == {}

    await a_moved_pupil(world, origin, destination)

    assert (await receipts(origin), await receipts(destination)) == (1, 1)
    assert await world.receipt_findings(against=False) == {}


async def test_a_receipt_that_is_taken_away_behind_the_anchor_shows(world: TransferWorld) -> None:
    origin, destination, _ = await a_moved_pupil(world)
    for school in (origin, destination):
        await age(school, 1900)
    await a_moved_pupil(world, origin, destination)
    await a_moved_pupil(world, origin, destination)
    await job(world, timedelta())

    await origin.execute("DELETE FROM transfer_receipt WHERE sequence = 2")
    findings = await world.receipt_findings(origin.uai)

    assert any("receipt 2 missing" in line for line in findings[origin.uai])


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("UPDATE transfer_receipt_chain SET forgotten_hash = repeat('0', 64)", "was written after another"),
        ("UPDATE transfer_receipt_chain SET forgotten_written_at = now() - interval '10 days'", "before their time"),
        ("UPDATE transfer_receipt_chain SET forgotten_sequence = 0, forgotten_hash = NULL", "receipt 1 missing"),
    ],
)
async def test_an_anchor_that_was_altered_shows(world: TransferWorld, tampering: str, said: str) -> None:
    origin, destination, _ = await a_moved_pupil(world)
    for school in (origin, destination):
        await age(school, 1900)
    await a_moved_pupil(world, origin, destination)
    await job(world, timedelta())

    await origin.execute(tampering)
    findings = await world.receipt_findings(origin.uai, against=False)

    assert any(said in line for line in findings.get(origin.uai, [])), findings


async def test_whoever_hides_young_receipts_behind_an_anchor_is_told_of_by_the_other_school(
    world: TransferWorld,
) -> None:
    origin, destination, _ = await a_moved_pupil(world)
    await destination.execute(
        "UPDATE transfer_receipt_chain SET forgotten_sequence = 1, forgotten_hash = hash, forgotten_at = now(),"
        " forgotten_written_at = now() - interval '2000 days'"
    )
    await destination.execute("DELETE FROM transfer_receipt")

    findings = await world.receipt_findings()

    assert "has no receipt of it" in findings[origin.uai][0]


async def test_stubs_go_when_their_time_is_over_and_nobody_else(world: TransferWorld) -> None:
    origin, destination, stub = await a_moved_pupil(world)
    stays = [await origin.has(new_ine()), await origin.has(new_ine(), records=ONE), await origin.has(new_ine())]
    for pupil in stays[1:]:
        await origin.loses(pupil)
    await origin.execute("UPDATE pupil SET records_moved_at = now() WHERE id = ANY (%s)", [stays[1]])
    _, _, held = await a_moved_pupil(world, origin, destination)
    await origin.execute(
        "INSERT INTO transfer_hold (pupil_id, transfer_id, epoch, claim, opt_in) VALUES (%s, %s, 1, %s, '{}')",
        held, uuid4(), uuid4(),
    )  # fmt: skip

    early = await job(world, timedelta(days=300))
    dry = await job(world, A_YEAR_AND_MORE, dry_run=True)
    done = await job(world, A_YEAR_AND_MORE)
    again = await job(world, A_YEAR_AND_MORE)
    await world.take_in_events()

    left = {row[0] for row in await origin.fetch("SELECT id FROM pupil")}
    assert [one.rows["stubs"] for one in (early, dry, done, again)] == [0, 1, 1, 0]
    assert left == {*stays, held}
    assert [row["withdrawn"] for row in await enrolments(world, stub)] == [True]
    assert await world.receipt_findings() == {}
    assert (await world.schools.verify()).clean


async def enrolments(world: TransferWorld, pupil: UUID) -> list[dict[str, Any]]:
    async with world.database.begin() as tx, tx.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        await cursor.execute("SELECT * FROM enrolment WHERE pupil_id = %s", (pupil,))
        return await cursor.fetchall()


async def test_the_audit_trail_keeps_what_is_younger_than_a_year_whoever_deletes(world: TransferWorld) -> None:
    async with world.database.begin() as tx:
        await tx.execute(
            "INSERT INTO audit_entry (actor, role, action, occurred_at) SELECT 'a', 'support', 'test.done',"
            " now() - days * interval '1 day' FROM unnest(ARRAY[1, 360, 400, 2000]) AS days"
        )

    with pytest.raises(psycopg.errors.DatabaseError, match="append-only"):
        async with world.database.begin() as tx:
            await tx.execute("DELETE FROM audit_entry")
    done = await job(world, timedelta())

    assert done.rows["audit"] == 1
    async with world.database.begin() as tx:
        ((left,),) = await (await tx.execute("SELECT count(*) FROM audit_entry")).fetchall()
    assert left == 3


async def test_the_process_that_stays_does_the_job_by_itself_and_counts_it(world: TransferWorld) -> None:
    origin, destination, _ = await a_moved_pupil(world)
    for school in (origin, destination):
        await age(school, 1900)
    metrics = Metrics()

    async def gone() -> bool | None:
        return True if await receipts(origin) == await receipts(destination) == 0 else None

    async with Service(world.config, metrics=metrics, work=Work.RETAIN):
        await eventually(gone)

        async def counted() -> bool | None:
            return True if b'cpro_transfer_forgotten_rows_total{kind="receipts"} 2.0' in metrics.render() else None

        await eventually(counted)
    assert await world.receipt_findings() == {}


async def test_a_school_that_is_away_is_done_the_next_day_and_keeps_no_other_waiting(world: TransferWorld) -> None:
    origin, destination, _ = await a_moved_pupil(world)
    async with world.schools.directory._database.begin() as tx:
        await tx.execute("UPDATE tenant SET cluster = 'nowhere' WHERE uai = %s", (origin.uai,))

    done = await job(world, FIVE_YEARS)

    assert done.unread == [origin.uai]
    assert await receipts(destination) == 0
