"""A table that would lose rows in a move is found before anything moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cpro_platform.database import Connection
from cpro_tenant_db import catalogue
from cpro_tenant_db.catalogue import CATALOGUE, CatalogueGap, RecordTable
from cpro_test_support.schools import School

UNCOVERED = "hangs from pupil and is not in the catalogue"
UNGUARDED = "has no transfer guard"


class RolledBack(Exception):  # noqa: N818 - no error: a test's tables are dropped again
    pass


async def test_the_catalogue_covers_the_schema_as_it_is(school: School) -> None:
    async with _changed(school) as tx:
        assert await catalogue.gaps(tx) == ()


@pytest.mark.parametrize(
    ("statements", "table"),
    [
        ("CREATE TABLE internship (id uuid PRIMARY KEY, trainee uuid REFERENCES pupil)", "internship"),
        ("CREATE TABLE remark (id uuid PRIMARY KEY, report_id uuid REFERENCES report)", "remark"),
        ("CREATE TABLE mark (id uuid PRIMARY KEY, entry uuid REFERENCES passport_entry)", "mark"),
        ("CREATE TABLE visit (id uuid PRIMARY KEY, pupil_id uuid)", "visit"),
        ("CREATE TABLE trip (id uuid, pupil_id uuid) PARTITION BY HASH (id)", "trip"),
        ("CREATE SCHEMA canteen; CREATE TABLE canteen.meal (id uuid, eater uuid REFERENCES pupil)", "canteen.meal"),
        ("CREATE SCHEMA sports; CREATE TABLE sports.licence (pupil_id uuid)", "sports.licence"),
        ('CREATE TABLE "Odd Name" (pupil_id uuid)', '"Odd Name"'),
    ],
    ids=[
        "a foreign key to pupil", "one to a record table", "one to a part of a record", "a bare pupil_id",
        "a partitioned table", "a foreign key from another schema", "a bare pupil_id in another schema", "an odd name",
    ],
)  # fmt: skip
async def test_a_table_that_hangs_from_pupil_and_was_not_declared_is_reported(
    school: School, statements: str, table: str
) -> None:
    async with _changed(school, statements) as tx:
        assert await catalogue.gaps(tx) == (CatalogueGap(table, UNCOVERED),)


async def test_a_chain_of_undeclared_tables_is_reported_whole(school: School) -> None:
    async with _changed(
        school,
        "CREATE TABLE internship (id uuid PRIMARY KEY, trainee uuid REFERENCES pupil)",
        "CREATE TABLE internship_day (internship uuid REFERENCES internship)",
    ) as tx:
        assert {gap.table for gap in await catalogue.gaps(tx)} == {"internship", "internship_day"}


@pytest.mark.parametrize(
    "statements",
    [
        "CREATE TABLE room (id uuid PRIMARY KEY, name text)",
        "CREATE TEMPORARY TABLE copied (pupil_id uuid) ON COMMIT DROP",
        "CREATE VIEW latest_report AS SELECT pupil_id, max(created_at) FROM report GROUP BY pupil_id",
    ],
    ids=["a table of something else", "a temporary table", "a view"],
)
async def test_what_holds_nothing_of_a_pupil_is_left_alone(school: School, statements: str) -> None:
    async with _changed(school, statements) as tx:
        assert await catalogue.gaps(tx) == ()


@pytest.mark.parametrize("table", [table.name for table in CATALOGUE])
@pytest.mark.parametrize(
    "change", ["DROP TRIGGER {trigger} ON {table}", "ALTER TABLE {table} DISABLE TRIGGER {trigger}"]
)
@pytest.mark.parametrize("verb", ["insert", "update", "delete", "truncate"])
async def test_a_record_table_whose_guard_is_missing_or_asleep_is_reported(
    school: School, table: str, change: str, verb: str
) -> None:
    async with _changed(school, change.format(table=table, trigger=f"transfer_guard_{verb}")) as tx:
        assert await catalogue.gaps(tx) == (CatalogueGap(table, UNGUARDED),)


async def test_a_new_record_table_needs_one_line_and_its_guard(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    internship = RecordTable("internship")
    monkeypatch.setattr(catalogue, "CATALOGUE", (*CATALOGUE, internship))
    monkeypatch.setattr(catalogue, "BY_NAME", {**catalogue.BY_NAME, "internship": internship})
    create = "CREATE TABLE internship (id uuid PRIMARY KEY, pupil_id uuid REFERENCES pupil)"
    guard = "SELECT guard_record_table('internship', 'SELECT pupil_id FROM changed')"

    async with _changed(school, create) as tx:
        assert await catalogue.gaps(tx) == (CatalogueGap("internship", UNGUARDED),)
    async with _changed(school, create, guard) as tx:
        assert await catalogue.gaps(tx) == ()


@asynccontextmanager
async def _changed(school: School, *statements: str) -> AsyncIterator[Connection]:
    """A transaction after these changes of the schema, which are undone."""
    try:
        async with school.world.tenants.begin(school.uai) as tx:
            for statement in statements:
                await tx.execute(statement)
            yield tx
            raise RolledBack
    except RolledBack:
        pass
