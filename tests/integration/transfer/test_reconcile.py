"""What the transfer database has lost or never heard is found in the schools' own databases, and mended from there."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cpro_contracts.identifiers import match_key_of_ine
from cpro_platform.errors import RetryableError
from cpro_test_support.reconciling import hears, kinds, knowledge, reconciled, row_versions, said
from cpro_test_support.records import Amounts
from cpro_test_support.schools import SECRET
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai, opened_world
from cpro_transfer.bootstrap import Work
from cpro_transfer.domain.reconciliation import Kind

RECORDS = Amounts(reports=2, activity_sheets=1, assessments=1, attachments=1)
MOVE_ONLY = Work.MOVE | Work.RELAY


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[TransferWorld]:
    """A world that waits for no event: what is published and not known is lost."""
    async with opened_world(servers.endpoints, on_their_way_seconds=0) as opened:
        yield opened


async def test_where_nothing_was_lost_nothing_differs_and_nothing_is_written(world: TransferWorld) -> None:
    origin, _, _ = await world.a_pupil_changes_school(RECORDS)
    await origin.has(None)
    await hears(world)
    async with world.service(MOVE_ONLY):
        await world.ends("completed")
    before = await row_versions(world)

    found = await reconciled(world)

    assert kinds(found) == {}
    assert await row_versions(world) == before


async def test_a_lost_arrival_is_said_again_and_the_records_follow(world: TransferWorld) -> None:
    _, destination, _ = await world.a_pupil_changes_school(RECORDS)
    ((arrival,),) = await destination.fetch("SELECT id FROM outbox WHERE type = 'cpro.pupil.created.v1'")
    await hears(world, lost=[arrival])
    assert await world.transfers() == []

    found = await reconciled(world)
    await hears(world, lost=[arrival])

    assert kinds(found) == {destination.uai: {"pupil_unknown": 1}}
    async with world.service(MOVE_ONLY):
        await world.ends("completed")
    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {destination.uai}
    assert kinds(await reconciled(world)) == {}


async def test_a_lost_departure_is_said_again_under_its_own_revision_and_time(world: TransferWorld) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    pupil = await school.has(new_ine())
    await hears(world)
    before = await said(world)
    await school.loses(pupil)
    ((lost, revision, time),) = await school.fetch(
        "SELECT id, payload ->> 'revision', (SELECT state_changed_at FROM pupil) FROM outbox WHERE id <> ALL (%s)",
        before,
    )

    found = await reconciled(world)
    again = await school.fetch(
        "SELECT type, payload ->> 'revision', occurred_at FROM outbox WHERE id <> ALL (%s)", [*before, lost]
    )

    assert kinds(found) == {school.uai: {"pupil_behind": 1}}
    assert again == [("cpro.pupil.deactivated.v1", revision, time)]


async def test_an_enrolment_that_nobody_has_any_more_is_withdrawn(world: TransferWorld) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    wrong, right = new_ine(), new_ine()
    pupil = await school.has(wrong)
    await hears(world)
    await school.corrects_ine(pupil, right)
    ((withdrawal,),) = await school.fetch("SELECT id FROM outbox WHERE type = 'cpro.pupil.withdrawn.v1'")
    await hears(world, lost=[withdrawal])

    found = await reconciled(world)
    await hears(world, lost=[withdrawal])

    assert kinds(found) == {school.uai: {"enrolment_stale": 1}}
    known = (await knowledge(world))["enrolments"]
    assert [row[0] for row in known] == [match_key_of_ine(right, SECRET)]
    assert kinds(await reconciled(world)) == {}


async def test_a_lost_opt_in_is_said_again(world: TransferWorld) -> None:
    (school,) = await world.schools.create(new_uai())
    await school.opts_in()
    ((lost,),) = await school.fetch("SELECT id FROM outbox")

    found = await reconciled(world)
    await hears(world, lost=[lost])

    assert kinds(found) == {school.uai: {"opt_in_behind": 1}}
    assert [row[:2] for row in (await knowledge(world))["opt-ins"]] == [(school.uai, True)]
    assert kinds(await reconciled(world)) == {}


async def test_a_school_restored_from_an_older_backup_is_heard_again(world: TransferWorld) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    stays, leaves = await school.has(new_ine()), await school.has(new_ine())
    backup = await school.fetch("SELECT id, active, revision FROM pupil")
    ((newest, opt_in),) = await school.fetch(
        "SELECT last_value, (SELECT revision FROM transfer_opt_in) FROM pupil_revision"
    )
    await school.loses(leaves)
    await school.opts_out()
    await hears(world)

    for pupil_id, active, revision in backup:
        await school.execute("UPDATE pupil SET active = %s, revision = %s WHERE id = %s", active, revision, pupil_id)
    await school.execute("UPDATE transfer_opt_in SET enabled = true, revision = %s", opt_in)
    await school.execute("SELECT setval('pupil_revision', %s)", newest)
    forgotten = await said(world)
    found = await reconciled(world)
    await hears(world)

    assert kinds(found) == {school.uai: {"pupil_ahead": 1, "opt_in_ahead": 1, "revisions_behind": 1}}
    assert found[school.uai].continue_after == newest + 2
    known = await knowledge(world)
    assert {row[2]: row[3] for row in known["enrolments"]} == {stays: True, leaves: True}
    assert [row[1] for row in known["opt-ins"]] == [True]
    assert len(await said(world)) == len(forgotten) + 2
    assert kinds(await reconciled(world)) == {}
    await school.loses(stays)
    await hears(world)
    assert {row[2]: row[3] for row in (await knowledge(world))["enrolments"]} == {stays: False, leaves: True}


async def test_a_restored_school_that_has_gone_on_since_is_heard_again(world: TransferWorld) -> None:
    """Its revisions have passed those that were known: only the content tells."""
    (school,) = await world.schools.opted_in(new_uai())
    pupil = await school.has(new_ine())
    await hears(world)
    ((revision,),) = await school.fetch("SELECT revision FROM pupil")
    await school.execute("UPDATE pupil SET active = false, revision = %s WHERE id = %s", revision, pupil)
    for _ in range(3):
        await school.has(new_ine())
    await hears(world)

    found = await reconciled(world)
    await hears(world)

    assert kinds(found) == {school.uai: {"pupil_ahead": 1}}
    assert {row[2]: row[3] for row in (await knowledge(world))["enrolments"]}[pupil] is False


async def test_what_waits_in_the_outbox_is_on_its_way_and_is_sent(world: TransferWorld) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    await hears(world)
    school.publishes = False
    await school.has(new_ine())

    looked = await reconciled(world, dry_run=True)
    await reconciled(world)

    assert kinds(looked) == {}
    assert looked[school.uai].on_their_way == 1
    assert await school.fetch("SELECT count(*) FROM outbox WHERE published_at IS NULL") == [(0,)]
    assert await school.fetch("SELECT count(*) FROM outbox WHERE type LIKE 'cpro.pupil%%'") == [(1,)]
    async with world.database.begin() as tx:
        assert await (await tx.execute("SELECT * FROM tenant_outbox_note")).fetchall() == []


async def test_a_dry_run_counts_the_same_and_writes_nothing_anywhere(world: TransferWorld) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    async with world.service(MOVE_ONLY):
        await world.ends("completed")
    pupil = await origin.has(new_ine())
    async with world.database.begin() as tx:
        await tx.execute("DELETE FROM transfer")
        await tx.execute("DELETE FROM enrolment WHERE uai = %s", (destination.uai,))
        await tx.execute("UPDATE enrolment SET moved_at_revision = 0")
        await tx.execute("UPDATE establishment SET opt_in_revision = 99")
    before = await row_versions(world)

    dry = await reconciled(world, dry_run=True)

    assert await row_versions(world) == before
    assert kinds(dry)[origin.uai] == {
        "transfer_unknown": 1, "pupil_unknown": 1, "move_not_noted": 1, "opt_in_ahead": 1, "revisions_behind": 1,
    }  # fmt: skip
    assert dry[origin.uai].found[Kind.PUPIL_UNKNOWN] == [pupil]
    assert kinds(await reconciled(world, origin.uai)) == {
        origin.uai: {"transfer_unknown": 1, "pupil_unknown": 1, "opt_in_ahead": 1, "revisions_behind": 1}
    }


async def test_records_that_have_left_are_not_planned_to_leave_again(world: TransferWorld) -> None:
    await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    async with world.service(MOVE_ONLY):
        (transfer,) = await world.ends("completed")
    async with world.database.begin() as tx:
        await tx.execute("DELETE FROM transfer")
        await tx.execute("DELETE FROM enrolment")

    await reconciled(world)
    await hears(world)

    (again,) = await world.transfers()
    assert (again["id"], again["state"], again["records"]) == (transfer["id"], "completed", transfer["records"])
    assert kinds(await reconciled(world)) == {}


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param("DELETE FROM enrolment", id="the enrolments are lost"),
        pytest.param(
            "UPDATE enrolment SET revision = revision + 90, moved_at_revision = moved_at_revision + 90",
            id="the school has lost revisions",
        ),
    ],
)
async def test_a_departure_that_is_said_again_is_known_to_have_moved(world: TransferWorld, happens: str) -> None:
    origin, _, _ = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    async with world.service(MOVE_ONLY):
        await world.ends("completed")
    async with world.database.begin() as tx:
        await tx.execute(happens)

    found = await reconciled(world)
    await hears(world)

    assert found[origin.uai].repaired[Kind.MOVE_NOT_NOTED] == 1
    assert [transfer["state"] for transfer in await world.transfers()] == ["completed"]
    assert kinds(await reconciled(world)) == {}


async def test_a_receipt_that_a_restored_school_has_lost_is_told_with_what_moved(world: TransferWorld) -> None:
    _, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    async with world.service(MOVE_ONLY):
        (transfer,) = await world.ends("completed")
    await destination.execute("DELETE FROM transfer_receipt")

    found = await reconciled(world)

    assert kinds(found) == {destination.uai: {"receipt_missing": 1}}
    told = found[destination.uai].missing_receipts[transfer["id"]]
    assert told == {
        "report": 2, "activity_sheet": 1, "assessment": 1, "professional_passport": 1, "passport_entry": 4, "attachment": 1,
    }  # fmt: skip
    assert found[destination.uai].repaired == {}


async def test_a_hold_that_outlives_its_transfer_is_let_go(world: TransferWorld) -> None:
    origin, _, leaver = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    with world.process("move", crash_at="move.held", lease_seconds=1.0) as mover:
        await mover.start()
        await mover.ended()
    await origin.has_again(leaver)
    async with world.database.begin() as tx:
        await tx.execute(
            "UPDATE transfer SET state = 'cancelled', reason = 'returned', due_at = NULL, lease_until = NULL"
        )

    found = await reconciled(world)
    await hears(world)
    async with world.service(MOVE_ONLY):
        await world.ends("cancelled")

    assert kinds(found)[origin.uai]["transfer_behind"] == 1
    assert await origin.fetch("SELECT * FROM transfer_hold") == []
    await origin.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'written again')", leaver)


async def test_what_has_landed_goes_forward_though_the_transfer_database_says_cancelled(world: TransferWorld) -> None:
    _, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    with world.process("move", crash_at="move.landed", lease_seconds=1.0) as mover:
        await mover.start()
        await mover.ended()
    async with world.database.begin() as tx:
        await tx.execute(
            "UPDATE transfer SET state = 'cancelled', reason = 'returned', due_at = NULL, lease_until = NULL"
        )

    await reconciled(world, destination.uai)
    async with world.service(MOVE_ONLY):
        await world.ends("completed")

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {destination.uai}


async def test_an_import_that_commits_meanwhile_is_waited_for_and_not_contradicted(world: TransferWorld) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    wrong, right = new_ine(), new_ine()
    pupil = await school.has(wrong)
    await hears(world)
    await school.execute("UPDATE outbox SET published_at = NULL")  # so that it has something to say
    new_key = match_key_of_ine(right, SECRET)

    async with world.schools.tenants.begin(school.uai) as importing:
        await importing.execute("UPDATE pupil SET match_key = %s WHERE id = %s", (new_key, pupil))
        reconciling = asyncio.create_task(reconciled(world))
        await eventually(lambda: _waits_for_a_lock(world, school.uai))
        for kind, key in (("withdrawn", match_key_of_ine(wrong, SECRET)), ("created", new_key)):
            await importing.execute(_SAID, {"kind": f"cpro.pupil.{kind}.v1", "key": key, "pupil": pupil})
        await importing.execute("UPDATE pupil SET revision = (SELECT last_value FROM pupil_revision)")

    assert kinds(await reconciling) == {}
    await hears(world)
    assert await school.fetch("SELECT count(*) FROM outbox WHERE type = 'cpro.pupil.withdrawn.v1'") == [(1,)]
    assert [row[0] for row in (await knowledge(world))["enrolments"]] == [new_key]


_SAID = """
INSERT INTO outbox (topic, key, type, source, subject, occurred_at, payload)
SELECT topic, %(key)s, %(kind)s, source, subject, now(),
    payload || jsonb_build_object('match_key', %(key)s::text, 'revision', nextval('pupil_revision'))
FROM outbox WHERE payload ->> 'pupil_id' = %(pupil)s::text ORDER BY position LIMIT 1
"""


async def _waits_for_a_lock(world: TransferWorld, uai: str) -> bool | None:
    rows = await world.schools.known[uai].fetch(
        "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE d.datname = current_database() AND NOT l.granted"
    )
    return bool(rows) or None


async def test_a_school_that_an_import_keeps_busy_is_asked_again_later(world: TransferWorld) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    pupil = await school.has(new_ine())

    async with world.schools.tenants.begin(school.uai) as importing:
        await importing.execute("UPDATE pupil SET updated_at = now() WHERE id = %s", (pupil,))
        with pytest.raises(RetryableError):
            await reconciled(world)

    assert kinds(await reconciled(world)) == {school.uai: {"pupil_unknown": 1, "opt_in_behind": 1}}
