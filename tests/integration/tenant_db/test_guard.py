"""Who may write a pupil's records while they are on their way, and afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg
import pytest

from cpro_platform.database import Connection
from cpro_tenant_db.catalogue import CATALOGUE
from cpro_test_support.records import Amounts, rows_of
from cpro_test_support.schools import School
from cpro_test_support.transfers import eventually

ONE_OF_EACH = Amounts(1, 1, 1, 1, 1, 1)
CLAIM = UUID("11111111-2222-4333-8444-555555555555")
HELD, MOVED, TRUNCATED = "CP001", "CP002", "CP003"

INSERTS = {
    "report": "INSERT INTO report (pupil_id, title) VALUES (%(pupil)s, 'x')",
    "activity_sheet": "INSERT INTO activity_sheet (pupil_id, title) VALUES (%(pupil)s, 'x')",
    "assessment": "INSERT INTO assessment (pupil_id, skill_code) VALUES (%(pupil)s, 'C1')",
    "professional_passport": "INSERT INTO professional_passport (pupil_id, diploma_code) VALUES (%(pupil)s, '1')",
    "passport_entry": "INSERT INTO passport_entry (passport_id, position, kind) VALUES (%(passport)s, 9, 'x')",
    "attachment": "INSERT INTO attachment (pupil_id, file_name, content_type, object_key, sha256, size_bytes)"
    " VALUES (%(pupil)s, 'f', 'text/plain', gen_random_uuid()::text, repeat('0', 64), 0)",
}
UPDATES = {
    "report": "UPDATE report SET title = 'y' WHERE pupil_id = %(pupil)s",
    "activity_sheet": "UPDATE activity_sheet SET title = 'y' WHERE pupil_id = %(pupil)s",
    "assessment": "UPDATE assessment SET comment = 'y' WHERE pupil_id = %(pupil)s",
    "professional_passport": "UPDATE professional_passport SET statement = 'y' WHERE id = %(passport)s",
    "passport_entry": "UPDATE passport_entry SET kind = 'y' WHERE passport_id = %(passport)s",
    "attachment": "UPDATE attachment SET file_name = 'y' WHERE pupil_id = %(pupil)s",
}
DELETES = {table: f"DELETE FROM {table} WHERE pupil_id = %(pupil)s" for table in INSERTS} | {
    # The passport without an entry: the other one is kept by its foreign key already.
    "professional_passport": "DELETE FROM professional_passport WHERE pupil_id = %(pupil)s AND id <> %(passport)s",
    "passport_entry": "DELETE FROM passport_entry WHERE passport_id = %(passport)s",
}
WRITES = [
    pytest.param(table, statements[table], id=f"{verb} {table}")
    for verb, statements in (("insert", INSERTS), ("update", UPDATES), ("delete", DELETES))
    for table in INSERTS
]

# An insert locks the pupil by its foreign key already; updates, deletions and parts of records do not.
WRITE_OF_ANY_KIND = pytest.mark.parametrize(
    "write",
    [INSERTS["report"], UPDATES["report"], DELETES["report"], INSERTS["passport_entry"], DELETES["passport_entry"]],
    ids=["insert", "update", "delete", "insert a part", "delete a part"],
)


class RolledBack(Exception):  # noqa: N818 - no error: a test's changes are undone
    pass


@dataclass(frozen=True, slots=True)
class Pupil:
    """A pupil with one record of each kind."""

    id: UUID
    passport: UUID

    @property
    def arguments(self) -> dict[str, UUID]:
        return {"pupil": self.id, "passport": self.passport}


@pytest.fixture
async def held(school: School) -> AsyncIterator[Pupil]:
    """A pupil whose records are being copied."""
    pupil = await _pupil(school)
    await school.execute(
        "INSERT INTO transfer_hold (pupil_id, transfer_id, epoch, claim, opt_in) VALUES (%s, %s, 1, %s, '{}')",
        pupil.id, uuid4(), CLAIM,
    )  # fmt: skip
    yield pupil
    await school.execute("DELETE FROM transfer_hold WHERE pupil_id = %s", pupil.id)


@pytest.fixture
async def free(school: School) -> Pupil:
    """A pupil whom nobody moves."""
    return await _pupil(school)


def test_the_writes_below_are_on_every_table_of_the_catalogue() -> None:
    assert set(INSERTS) == set(UPDATES) == {table.name for table in CATALOGUE}


@pytest.mark.parametrize("claim", [None, "", str(uuid4())], ids=["no claim", "empty claim", "another's claim"])
@pytest.mark.parametrize(("table", "write"), WRITES)
async def test_nobody_writes_the_records_of_a_held_pupil(
    school: School, held: Pupil, table: str, write: str, claim: str | None
) -> None:
    async with _undone(school, claim) as tx:
        with pytest.raises(psycopg.Error) as refused:
            await tx.execute(write, held.arguments)

    assert refused.value.sqlstate == HELD
    assert str(held.id) in str(refused.value)


@pytest.mark.parametrize(("table", "write"), WRITES)
async def test_the_mover_with_the_claim_writes_them(school: School, held: Pupil, table: str, write: str) -> None:
    async with _undone(school, str(CLAIM)) as tx:
        written = await tx.execute(write, held.arguments)

    assert written.rowcount == 1


@pytest.mark.parametrize(("table", "write"), WRITES)
async def test_the_records_of_other_pupils_are_written_meanwhile(
    school: School, held: Pupil, free: Pupil, table: str, write: str
) -> None:
    async with _undone(school) as tx:
        written = await tx.execute(write, free.arguments)

    assert written.rowcount == 1


@pytest.mark.parametrize("table", [table for table in INSERTS if table != "passport_entry"])
async def test_a_record_is_given_neither_to_a_held_pupil_nor_away_from_one(
    school: School, held: Pupil, free: Pupil, table: str
) -> None:
    for giver, taker in ((held, free), (free, held)):
        async with _undone(school) as tx:
            with pytest.raises(psycopg.Error) as refused:
                await tx.execute(f"UPDATE {table} SET pupil_id = %s WHERE pupil_id = %s", (taker.id, giver.id))

        assert refused.value.sqlstate == HELD


async def test_a_passport_s_entry_is_given_neither_to_a_held_pupil_nor_away_from_one(
    school: School, held: Pupil, free: Pupil
) -> None:
    for giver, taker in ((held, free), (free, held)):
        async with _undone(school) as tx:
            with pytest.raises(psycopg.Error) as refused:
                await tx.execute(
                    "UPDATE passport_entry SET passport_id = %s WHERE passport_id = %s",
                    (taker.passport, giver.passport),
                )

        assert refused.value.sqlstate == HELD


async def test_one_held_pupil_among_many_stops_the_whole_statement(school: School, held: Pupil, free: Pupil) -> None:
    async with _undone(school) as tx:
        with pytest.raises(psycopg.Error) as refused:
            await tx.execute("UPDATE report SET title = 'z' WHERE pupil_id = ANY (%s)", ([free.id, held.id],))

    assert refused.value.sqlstate == HELD
    assert await school.fetch("SELECT 1 FROM report WHERE title = 'z'") == []


@pytest.mark.parametrize("statement", [*(f"TRUNCATE {table} CASCADE" for table in INSERTS), "TRUNCATE pupil CASCADE"])
async def test_a_record_table_is_never_truncated_not_even_by_the_mover(school: School, statement: str) -> None:
    async with _undone(school, str(CLAIM)) as tx:
        with pytest.raises(psycopg.Error) as refused:
            await tx.execute(statement)

    assert refused.value.sqlstate == TRUNCATED


@WRITE_OF_ANY_KIND
async def test_a_writer_under_way_makes_the_hold_wait_and_what_it_wrote_is_copied(
    school: School, free: Pupil, write: str
) -> None:
    tenants = school.world.tenants
    before = await _content(school, free)
    async with tenants.connection(school.uai) as writer, tenants.connection(school.uai) as mover:
        async with writer.transaction():
            await writer.execute(write, free.arguments)
            holding = asyncio.create_task(_hold(mover, free))
            await eventually(lambda: _waits(writer, mover))
        await holding

    assert await _content(school, free) != before
    await school.execute("DELETE FROM transfer_hold WHERE pupil_id = %s", free.id)


@WRITE_OF_ANY_KIND
async def test_a_writer_that_comes_while_the_hold_is_being_set_waits_and_is_refused(
    school: School, free: Pupil, write: str
) -> None:
    tenants = school.world.tenants
    async with tenants.connection(school.uai) as writer, tenants.connection(school.uai) as mover:
        async with mover.transaction():
            await _hold(mover, free)
            writing = asyncio.create_task(writer.execute(write, free.arguments))
            await eventually(lambda: _waits(mover, writer))
        with pytest.raises(psycopg.Error) as refused:
            await writing

    assert refused.value.sqlstate == HELD
    await school.execute("DELETE FROM transfer_hold WHERE pupil_id = %s", free.id)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@WRITE_OF_ANY_KIND
async def test_a_writer_whose_snapshot_is_older_than_the_hold_fails_with_a_serialization_error(
    school: School, free: Pupil, write: str, level: str
) -> None:
    """Its snapshot can't show it the hold."""
    tenants = school.world.tenants
    async with tenants.connection(school.uai) as writer, tenants.connection(school.uai) as mover:
        await writer.execute(f"BEGIN ISOLATION LEVEL {level}")
        await writer.execute("SELECT count(*) FROM report")
        await _hold(mover, free)

        with pytest.raises(psycopg.errors.SerializationFailure):
            await writer.execute(write, free.arguments)
        await writer.execute("ROLLBACK")
    await school.execute("DELETE FROM transfer_hold WHERE pupil_id = %s", free.id)


@pytest.mark.parametrize("table", INSERTS)
async def test_a_pupil_whose_records_have_moved_gets_no_new_ones_until_active_here_again(
    school: School, free: Pupil, table: str
) -> None:
    await school.execute(
        "UPDATE pupil SET active = false, records_moved_at = now(), records_moved_to = '0750680G' WHERE id = %s",
        free.id,
    )
    async with _undone(school) as tx:
        with pytest.raises(psycopg.Error) as refused:
            await tx.execute(INSERTS[table], free.arguments)

    await school.execute("UPDATE pupil SET active = true WHERE id = %s", free.id)

    assert refused.value.sqlstate == MOVED
    async with _undone(school) as tx:
        assert (await tx.execute(INSERTS[table], free.arguments)).rowcount == 1
    assert await school.fetch("SELECT records_moved_at, records_moved_to FROM pupil WHERE id = %s", free.id) == [
        (None, None)
    ]


async def test_a_pupil_who_left_without_a_transfer_still_gets_records(school: School, free: Pupil) -> None:
    """A report that was late: it is the school's until the records move."""
    await school.execute("UPDATE pupil SET active = false WHERE id = %s", free.id)

    async with _undone(school) as tx:
        assert (await tx.execute(INSERTS["report"], free.arguments)).rowcount == 1


async def _pupil(school: School) -> Pupil:
    pupil_id = await school.has(None, records=ONE_OF_EACH)
    await school.execute("UPDATE attachment SET report_id = NULL WHERE pupil_id = %s", pupil_id)
    (row,) = await school.fetch("SELECT id FROM professional_passport WHERE pupil_id = %s", pupil_id)
    await school.execute("INSERT INTO professional_passport (pupil_id, diploma_code) VALUES (%s, '2')", pupil_id)
    return Pupil(pupil_id, row[0])


async def _content(school: School, pupil: Pupil) -> dict[tuple[str, UUID], str]:
    async with school.world.tenants.begin(school.uai) as tx:
        return await rows_of(tx, pupil.id)


@asynccontextmanager
async def _undone(school: School, claim: str | None = None) -> AsyncIterator[Connection]:
    """A transaction that is rolled back, with this claim if any."""
    try:
        async with school.world.tenants.begin(school.uai) as tx:
            if claim is not None:
                await tx.execute("SELECT set_config('cpro.transfer_claim', %s, true)", (claim,))
            yield tx
            raise RolledBack
    except RolledBack:
        pass


async def _hold(mover: Connection, pupil: Pupil) -> None:
    """As a mover sets a hold: lock, hold, touch."""
    async with mover.transaction():
        await mover.execute("SELECT 1 FROM pupil WHERE id = %s FOR UPDATE", (pupil.id,))
        await mover.execute(
            "INSERT INTO transfer_hold (pupil_id, transfer_id, epoch, claim, opt_in) VALUES (%s, %s, 1, %s, '{}')",
            (pupil.id, uuid4(), CLAIM),
        )
        await mover.execute("UPDATE pupil SET updated_at = now() WHERE id = %s", (pupil.id,))


async def _waits(holder: Connection, waiter: Connection) -> bool | None:
    """Whether `waiter` waits for a lock of `holder`, who looks."""
    found = await holder.execute(
        "SELECT %s = ANY (pg_blocking_pids(%s))", (holder.info.backend_pid, waiter.info.backend_pid)
    )
    return True if await found.fetchall() == [(True,)] else None
