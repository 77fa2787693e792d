"""What two establishments can prove of their transfers, and what shows when one of their databases went back in time."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
from psycopg import sql

from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Work

RECORDS = Amounts(reports=2, activity_sheets=1, assessments=1, passports=1, passport_entries=1, attachments=1)


async def moved(world: TransferWorld, origin: School, destination: School, pupils: int = 1) -> list[UUID]:
    """So many pupils change school, and their records follow. Returns the transfers."""
    for _ in range(pupils):
        ine = new_ine()
        leaver = await origin.has(ine, records=RECORDS)
        await origin.loses(leaver)
        await destination.has(ine)
    await world.take_in_events()
    before = {transfer["id"] for transfer in await world.transfers(state="completed")}
    async with world.service(work=Work.MOVE):
        ended = await world.ends("completed", number=len(before) + pupils)
    return [transfer["id"] for transfer in ended if transfer["id"] not in before]


@asynccontextmanager
async def restored_afterwards(world: TransferWorld, school: School) -> AsyncIterator[None]:
    """A backup of the establishment's database is made before the block, and takes its place after it."""
    tenant = await world.schools.directory.find(school.uai)
    assert tenant is not None
    cluster = world.schools.endpoints.postgres_clusters[tenant.cluster]
    ours, backup = sql.Identifier(tenant.database), sql.Identifier(f"{tenant.database}_backup")
    await world.schools.tenants.close()  # a database in use is neither copied nor dropped; it connects again by itself
    async with await psycopg.AsyncConnection.connect(cluster, dbname="postgres", autocommit=True) as server:
        await server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(backup, ours))
        yield
        await server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(ours))
        await server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(backup, ours))


async def test_receipts_of_batches_in_both_directions_are_chained_and_agree(world: TransferWorld) -> None:
    one, other = await world.schools.opted_in(new_uai(), new_uai())

    await moved(world, one, other, pupils=3)
    await moved(world, other, one, pupils=2)

    assert await world.receipt_findings() == {}
    for school in (one, other):
        rows = await school.fetch("SELECT sequence, direction FROM transfer_receipt ORDER BY sequence")
        assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
        assert len({row[1] for row in rows[:3]}) == len({row[1] for row in rows[3:]}) == 1


async def test_landings_from_several_schools_at_once_stand_in_one_chain(world: TransferWorld) -> None:
    destination, *origins = await world.schools.opted_in(*(new_uai() for _ in range(6)))
    for origin in origins:
        for _ in range(3):
            ine = new_ine()
            await origin.loses(await origin.has(ine, records=Amounts(1, 1, 1, 0, 0, 0)))
            await destination.has(ine)
    await world.take_in_events()

    async with world.service(work=Work.MOVE, concurrent_batches=5, batch_pupils=2):
        await world.ends("completed", number=15)

    assert await world.receipt_findings() == {}
    assert await destination.fetch("SELECT sequence FROM transfer_receipt_chain") == [(15,)]


async def test_a_destination_restored_to_before_a_landing_is_told_with_what_it_lacks(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    await moved(world, origin, destination)

    async with restored_afterwards(world, destination):
        (lost,) = await moved(world, origin, destination)
        ((tables,),) = await destination.fetch("SELECT tables FROM transfer_receipt WHERE transfer_id = %s", lost)

    assert await world.receipt_findings(destination.uai, against=False) == {}, "alone, it knows of nothing"
    for told in (await world.receipt_findings(), await world.receipt_findings(destination.uai)):
        ((finding,),) = told.values()
        assert set(told) == {origin.uai}
        assert f"transfer {lost}" in finding
        assert f"{destination.uai} was restored to a time before the landing" in finding
        assert {table for table in tables if f"{table} " in finding} == set(tables)
        assert all(row_id in finding for said in tables.values() for row_id in said["ids"])


async def test_an_origin_restored_to_before_the_transfer_is_told(world: TransferWorld) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)

    async with restored_afterwards(world, origin):
        await world.take_in_events()
        async with world.service(work=Work.MOVE):
            await world.ends("completed")

    told = await world.receipt_findings()
    assert set(told) == {destination.uai}
    assert f"{origin.uai} was restored to a time before the transfer" in told[destination.uai][0]


async def test_a_transfer_between_its_landing_and_its_finish_is_under_way_and_not_lost(world: TransferWorld) -> None:
    _, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    with world.process("move", crash_at="move.landed", lease_seconds=60.0) as mover:
        await mover.start()
        assert await mover.ended() == -signal.SIGKILL

    found = {one.uai: one async for one in world.verified_receipts()}

    assert await world.receipt_findings() == {}
    assert found[destination.uai].under_way == 1


async def test_one_end_forged_with_its_whole_chain_differs_from_the_other(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    await moved(world, origin, destination)

    await destination.execute("UPDATE transfer_receipt SET tables = jsonb_set(tables, '{report,count}', '1')")
    await destination.execute("UPDATE transfer_receipt r SET hash = hash_of_receipt(r)")
    await destination.execute("UPDATE transfer_receipt_chain SET hash = (SELECT hash FROM transfer_receipt)")

    assert await world.receipt_findings(against=False) == {}, "the chain alone agrees with itself"
    told = await world.receipt_findings()
    assert set(told) == {origin.uai}
    assert "report: 2 left, 1 arrived" in told[origin.uai][0]


async def test_the_exit_code_says_whether_all_is_well_broken_or_unread(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    await moved(world, origin, destination)

    well, said = await _command(world)
    assert (well, said) == (0, "2 tenants, 2 receipts, 0 transfers under way, 0 findings, 0 not read\n")
    wrong_usage, _ = await _command(world, "--uai", "0000000B")
    unknown, said = await _command(world, "--uai", new_uai())
    assert (wrong_usage, unknown) == (2, 3)
    assert "is not in the directory" in said
    await destination.execute("DELETE FROM transfer_receipt")
    broken, said = await _command(world, "--uai", destination.uai, "--no-against")

    assert broken == 1
    assert f"{destination.uai}: receipt 1 missing" in said


async def _command(world: TransferWorld, *arguments: str) -> tuple[int | None, str]:
    """`cpro-tenants verify-receipts` as operations run it: exit code and what it says."""
    clusters = json.dumps(dict(world.schools.endpoints.postgres_clusters))
    settings = {"CPRO_TENANTS_DIRECTORY_URL": world.schools.directory_url, "CPRO_TENANTS_CLUSTERS": clusters}
    code = "from cpro_tenant_db.cli import app; app()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "verify-receipts", *arguments, env=os.environ | settings,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()
