"""What temporary tables cost a landing: COPY into them and INSERT from there, against COPY into the record tables.

Run: `.venv/bin/python benchmarks/landing_tables.py [PUPILS]`. Both ways in turn, in one run on one server; medians and
their ratio. The figures in `docs/decisions/0008-copy-straight-into-the-record-tables.md` come from here.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from psycopg import sql

from cpro_embedded.stack import EmbeddedStack
from cpro_platform.database import Connection
from cpro_tenant_db.catalogue import CATALOGUE
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School, opened_schools
from cpro_test_support.transfers import new_ine, new_uai

ROUNDS = 60


async def main(pupils: int) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        stack = EmbeddedStack(Path(folder) / "servers")
        endpoints = stack.start()
        try:
            async with opened_schools(endpoints) as schools:
                (school,) = await schools.create(new_uai())
                school.publishes = False  # no topic is needed here
                for _ in range(pupils):
                    await school.has(new_ine(), records=Amounts())
                await compare(school)
        finally:
            stack.stop()


async def compare(school: School) -> None:
    rows = await copied_out(school)
    ways = {"temporary": through_temporary_tables, "straight": straight}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, land in ways.items():
            await empty(school)
            async with school.world.tenants.connection(school.uai) as connection:
                began = time.perf_counter()
                async with connection.transaction():
                    await land(connection, rows)
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) * 1000 for name, values in seconds.items()}
    ratio = medians["temporary"] / medians["straight"]
    print(" ".join(f"{name}_ms={value:.1f}" for name, value in medians.items()), f"ratio={ratio:.2f}")


async def copied_out(school: School) -> dict[str, bytes]:
    rows = {}
    async with school.world.tenants.begin(school.uai) as tx:
        for table in CATALOGUE:
            out = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(table.name))
            async with tx.cursor().copy(out) as copy:
                rows[table.name] = b"".join([bytes(block) async for block in copy])
    return rows


async def empty(school: School) -> None:
    async with school.world.tenants.begin(school.uai) as tx:
        for table in reversed(CATALOGUE):
            await tx.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))


async def straight(tx: Connection, rows: dict[str, bytes]) -> None:
    for table in CATALOGUE:
        await copy_in(tx, table.name, rows[table.name])


async def through_temporary_tables(tx: Connection, rows: dict[str, bytes]) -> None:
    create = sql.SQL("CREATE TEMP TABLE {} (LIKE {}) ON COMMIT DROP;")
    names = {table.name: sql.Identifier(f"incoming_{table.name}") for table in CATALOGUE}
    await tx.execute(sql.Composed([create.format(names[t.name], sql.Identifier(t.name)) for t in CATALOGUE]))
    for table in CATALOGUE:
        await copy_in(tx, f"incoming_{table.name}", rows[table.name])
    for table in CATALOGUE:
        insert = sql.SQL("INSERT INTO {} SELECT * FROM {}")
        await tx.execute(insert.format(sql.Identifier(table.name), names[table.name]))


async def copy_in(tx: Connection, table: str, rows: bytes) -> None:
    into = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(table))
    async with tx.cursor().copy(into) as copy:
        await copy.write(rows)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
