"""The check behind `make bench-rentree` finds what a mover that does harm would leave behind: each kind once."""

from dataclasses import fields, replace
from typing import Any

import pytest

from cpro_test_support.bulk_records import seed_files, seed_rows
from cpro_test_support.bulk_verification import Findings, Move, verify_in_bulk, written
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Work

ALL_ZERO = Findings(**dict.fromkeys((field.name for field in fields(Findings)), 0))
ROWS = {"report": 2, "activity_sheet": 1, "assessment": 2, "professional_passport": 1, "passport_entry": 3}


class Moved:
    """A pupil with ten records who has been moved, and what there was before."""

    def __init__(self, world: TransferWorld) -> None:
        self.world = world
        self.ine = new_ine()

    async def happen(self) -> "Moved":
        """Seed, and let a mover of the service do it."""
        world = self.world
        self.origin, self.destination = await world.schools.opted_in(new_uai(), new_uai())
        leaver = await self.origin.has(self.ine)
        async with world.schools.tenants.begin(self.origin.uai) as tx:
            await seed_rows(tx, [leaver], ROWS)
            await seed_files(tx, world.schools.store, self.origin.uai, [leaver])
        self.seeded = await written(await world.schools.conninfos())
        await self.origin.loses(leaver)
        self.pupil = await self.destination.has(self.ine)
        await world.take_in_events()
        async with world.service(Work.NOTHING) as service:
            await service.mover().move_next()
        await world.ends("completed")
        return self

    async def found(self) -> Findings:
        """What the check says now."""
        schools = self.world.schools
        return await verify_in_bulk(
            self.seeded,
            await schools.conninfos(),
            schools.store,
            homes={self.ine: self.destination.uai},
            moves=[Move(self.ine, self.origin.uai, self.destination.uai)],
        )


@pytest.fixture
async def moved(world: TransferWorld) -> Moved:
    return await Moved(world).happen()


async def test_a_pupil_who_was_moved_whole_leaves_nothing_to_find(moved: Moved) -> None:
    assert len(moved.seeded) == 10
    assert await moved.found() == ALL_ZERO


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("DELETE FROM passport_entry WHERE position = 2", {"lost": 1}),
        ("UPDATE report SET title = title || '.'", {"changed": 2}),
        ("UPDATE assessment SET score = score + 1e-9", {"changed": 2}),
        ("INSERT INTO report (pupil_id, title) SELECT id, 'Bilan' FROM pupil", {"unwritten": 1}),
        ("UPDATE attachment SET object_key = object_key || '-'", {"broken_files": 1, "unnamed_files": 1}),
        ("DELETE FROM transfer_receipt", {"without_receipts": 1, "unexpected_receipts": 1}),
        (
            "UPDATE transfer_receipt SET tables = jsonb_set(tables, '{report,count}', '9')",
            {"without_receipts": 1, "unexpected_receipts": 2},
        ),
        (
            "INSERT INTO transfer_hold (pupil_id, transfer_id, epoch, claim, opt_in)"
            " SELECT id, gen_random_uuid(), 1, gen_random_uuid(), '{}' FROM pupil",
            {"holds": 1},
        ),
    ],
)
async def test_harm_at_the_destination_is_found(moved: Moved, harm: str, found: dict[str, int]) -> None:
    await moved.destination.execute(harm)

    assert await moved.found() == replace(ALL_ZERO, **found)


async def test_a_file_with_other_bytes_is_broken(moved: Moved) -> None:
    ((key,),) = await moved.destination.fetch("SELECT object_key FROM attachment")
    await moved.world.schools.store.put(key, b"other bytes")

    assert await moved.found() == replace(ALL_ZERO, broken_files=1)


async def test_a_record_that_stayed_behind_is_doubled(moved: Moved) -> None:
    await _copy_reports_back(moved)

    assert await moved.found() == replace(ALL_ZERO, doubled=2)


async def test_a_record_that_never_left_is_misplaced_and_not_lost(moved: Moved) -> None:
    await _copy_reports_back(moved)
    await moved.destination.execute("UPDATE attachment SET report_id = NULL")
    await moved.destination.execute("DELETE FROM report")

    assert await moved.found() == replace(ALL_ZERO, misplaced=2)


async def test_a_record_under_another_pupil_is_changed(moved: Moved) -> None:
    other = await moved.destination.has(new_ine())
    await moved.destination.execute("UPDATE report SET pupil_id = %s", other)

    assert await moved.found() == replace(ALL_ZERO, changed=2)


async def _copy_reports_back(moved: Moved) -> None:
    rows: list[tuple[Any, ...]] = await moved.destination.fetch(
        "SELECT id, title, period, content::text, author, created_at, updated_at FROM report"
    )
    # As if the origin had never let go: its guard would refuse the rows of a pupil who has moved away.
    await moved.origin.execute("UPDATE pupil SET records_moved_at = NULL")
    for row in rows:
        await moved.origin.execute(
            "INSERT INTO report (pupil_id, id, title, period, content, author, created_at, updated_at)"
            " SELECT p.id, %s, %s, %s, %s::jsonb, %s, %s, %s FROM pupil p",
            *row,
        )
