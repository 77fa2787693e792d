"""An establishment's database that is behind, away, full or locked: nothing moves, no pupil is blamed, all move in the end.

Whatever the trouble is, and on whichever side: the school may go on working on its records, the batch is not split, and
once it is over the records move by themselves.
"""

import errno
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from cpro_contracts.transfers import Reason
from cpro_embedded.stack import EmbeddedStack
from cpro_tenant_db.privileges import Service
from cpro_tenant_db.roles import login_of, password_of
from cpro_test_support.depth import in_part, slow
from cpro_test_support.records import Amounts, verify
from cpro_test_support.roles import ACCESS
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai
from cpro_transfer.bootstrap import Work

RECORDS = Amounts(reports=1, activity_sheets=1, assessments=1, passports=1, passport_entries=1, attachments=1)
PUPILS = 3


@dataclass(slots=True)
class Batch:
    """Pupils who have all changed school, with both ends and a service that keeps no connection for long."""

    world: TransferWorld
    servers: Servers
    origin: School
    destination: School

    def side(self, name: str) -> School:
        """One of the two."""
        return self.origin if name == "origin" else self.destination

    async def database(self, school: School) -> tuple[str, str]:
        """The cluster's connection string, and the database's name."""
        tenant = await self.world.schools.directory.find(school.uai)
        assert tenant is not None
        return self.world.schools.endpoints.postgres_clusters[tenant.cluster], tenant.database

    async def vacuums(self, school: School, table: str) -> None:
        """Give the space of a table's dead rows back to the disk."""
        conninfo = (await self.world.schools.conninfos())[school.uai]
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            await connection.execute(f"VACUUM (FULL) {table}".encode())

    async def on_the_server(self, school: School, statement: str) -> None:
        """Run a statement beside the school's database, which `{}` stands for; nobody is connected to it then."""
        await self.world.schools.tenants.close()
        cluster, database = await self.database(school)
        async with await psycopg.AsyncConnection.connect(cluster, dbname="postgres", autocommit=True) as server:
            await server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,)
            )
            await server.execute(sql.SQL(statement).format(sql.Identifier(database)))

    async def all_are(self, reason: Reason, *, attempts: int = 1) -> list[dict[str, Any]]:
        """Wait until every transfer has been given back for this reason, after so many attempts."""

        async def given_back() -> list[dict[str, Any]] | None:
            found = await self.world.transfers()
            back = [t for t in found if t["lease_until"] is None and t["reason"] and t["attempts"] >= attempts]
            return found if len(back) == PUPILS else None

        found: list[dict[str, Any]] = await eventually(given_back, self.world.transfers)
        assert {transfer["reason"] for transfer in found} == {str(reason)}
        return found

    async def try_again(self) -> None:
        """Do not wait for the time of the next attempt."""
        async with self.world.database.begin() as tx:
            await tx.execute("UPDATE transfer SET due_at = now() WHERE due_at IS NOT NULL AND lease_until IS NULL")

    async def moves_in_the_end(self) -> None:
        """Every record is at the destination. Not waiting for a delay: an attempt may have begun in the trouble."""

        async def all_moved() -> bool | None:
            await self.try_again()
            return True if len(await self.world.transfers(state="completed")) == PUPILS else None

        await eventually(all_moved, self.world.transfers)
        verdict = await self.world.schools.verify()
        assert verdict.clean
        assert set(verdict.places.values()) == {self.destination.uai}
        assert await self.origin.fetch("SELECT * FROM transfer_hold") == []

    async def school_can_work(self) -> None:
        """No hold is in the way, and every record is where it was."""
        assert await self.origin.fetch("SELECT * FROM transfer_hold") == []
        ((pupil,),) = await self.origin.fetch("SELECT id FROM pupil LIMIT 1")
        report = uuid4()
        await self.origin.execute("INSERT INTO report (id, pupil_id, title) VALUES (%s, %s, 'x')", report, pupil)
        await self.origin.execute("DELETE FROM report WHERE id = %s", report)
        # Only the origin is asked: on a disk that is full, PostgreSQL may have no room for a new session's files.
        schools = self.world.schools
        at_origin = {self.origin.uai: (await schools.conninfos())[self.origin.uai]}
        verdict = await verify(schools.seeded, at_origin, schools.store)
        assert not verdict.lost | verdict.broken_files


@pytest.fixture
async def batch(world: TransferWorld, servers: Servers) -> Batch:
    """Some pupils have changed school, and the join knows; no mover has looked yet."""
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    for _ in range(PUPILS):
        ine = new_ine()
        await origin.loses(await origin.has(ine, records=RECORDS))
        await destination.has(ine)
    await world.take_in_events()
    tenants = world.config.tenants.model_copy(update={"idle_seconds": 0.01})
    world.config = world.config.model_copy(update={"tenants": tenants, "concurrent_batches": 1})
    return Batch(world, servers, origin, destination)


@asynccontextmanager
async def _behind(batch: Batch, school: School) -> AsyncIterator[None]:
    ((version,),) = await school.fetch("SELECT version_num FROM alembic_version")
    await school.execute("UPDATE alembic_version SET version_num = '0001'")
    yield
    await school.execute("UPDATE alembic_version SET version_num = %s", version)


@asynccontextmanager
async def _other_columns(batch: Batch, school: School) -> AsyncIterator[None]:
    await school.execute("ALTER TABLE report ADD COLUMN core_is_ahead text")
    yield
    await school.execute("ALTER TABLE report DROP COLUMN core_is_ahead")


@asynccontextmanager
async def _undeclared_table(batch: Batch, school: School) -> AsyncIterator[None]:
    await school.execute("CREATE TABLE internship (id uuid PRIMARY KEY, pupil_id uuid REFERENCES pupil)")
    yield
    await school.execute("DROP TABLE internship")


@asynccontextmanager
async def _without_a_guard(batch: Batch, school: School) -> AsyncIterator[None]:
    await school.execute("ALTER TABLE report DISABLE TRIGGER transfer_guard_update")
    yield
    await school.execute("ALTER TABLE report ENABLE TRIGGER transfer_guard_update")


Trouble = Callable[[Batch, School], AbstractAsyncContextManager[None]]
BEHIND: dict[str, tuple[Trouble, Reason]] = {
    "schema": (_behind, Reason.SCHEMA_BEHIND),
    "columns": (_other_columns, Reason.SCHEMA_BEHIND),
    "undeclared table": (_undeclared_table, Reason.CATALOGUE_INCOMPLETE),
    "no guard": (_without_a_guard, Reason.CATALOGUE_INCOMPLETE),
}


@pytest.mark.parametrize("trouble", in_part(list(BEHIND)))
@pytest.mark.parametrize("side", ["origin", "destination"])
async def test_a_database_that_is_not_as_expected_holds_all_until_it_is(batch: Batch, side: str, trouble: str) -> None:
    put_out_of_order, reason = BEHIND[trouble]
    async with batch.world.service(Work.MOVE):
        async with put_out_of_order(batch, batch.side(side)):
            await batch.try_again()
            held = await batch.world.ends("held", number=PUPILS)
            await batch.school_can_work()
        await batch.moves_in_the_end()

    assert {transfer["reason"] for transfer in held} == {str(reason)}
    assert all(transfer["detail"] and transfer["due_at"] for transfer in held)


@asynccontextmanager
async def _read_only(batch: Batch, school: School) -> AsyncIterator[None]:
    await batch.on_the_server(school, "ALTER DATABASE {} SET default_transaction_read_only = on")
    yield
    await batch.on_the_server(school, "ALTER DATABASE {} RESET default_transaction_read_only")


@asynccontextmanager
async def _dropped(batch: Batch, school: School) -> AsyncIterator[None]:
    """For whoever connects, a database under another name and one that was dropped are the same (SQLSTATE 3D000)."""
    _, database = await batch.database(school)
    await batch.on_the_server(school, f'ALTER DATABASE {{}} RENAME TO "{database}_away"')
    yield
    cluster, _ = await batch.database(school)
    async with await psycopg.AsyncConnection.connect(cluster, dbname="postgres", autocommit=True) as server:
        names = (sql.Identifier(f"{database}_away"), sql.Identifier(database))
        await server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*names))


@asynccontextmanager
async def _not_in_the_directory(batch: Batch, school: School) -> AsyncIterator[None]:
    hide, show = (
        "UPDATE tenant SET state = 'creating' WHERE uai = %s",
        "UPDATE tenant SET state = 'active' WHERE uai = %s",
    )
    async with await psycopg.AsyncConnection.connect(batch.world.schools.directory_url, autocommit=True) as directory:
        await directory.execute(hide, (school.uai,))
        yield
        await directory.execute(show, (school.uai,))


@asynccontextmanager
async def _full_by_error_code(batch: Batch, school: School) -> AsyncIterator[None]:
    """The server's own error, raised where the real one comes from: for machines on which no disk can be made full."""
    await school.execute(
        "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$"
    )
    await school.execute("CREATE TRIGGER full_insert BEFORE INSERT ON report EXECUTE FUNCTION disk_full()")
    await school.execute("CREATE TRIGGER full_hold BEFORE INSERT ON transfer_hold EXECUTE FUNCTION disk_full()")
    yield
    await school.execute("DROP FUNCTION disk_full() CASCADE")


@asynccontextmanager
async def _full_by_delete(batch: Batch, school: School) -> AsyncIterator[None]:
    """The finish can't write: its first deletion of all."""
    async with _full_by_error_code(batch, school):
        await school.execute("DROP TRIGGER full_hold ON transfer_hold")
        await school.execute("CREATE TRIGGER full_delete BEFORE DELETE ON report EXECUTE FUNCTION disk_full()")
        yield


AWAY: dict[str, Trouble] = {
    "read-only": _read_only,
    "dropped": _dropped,
    "not in the directory": _not_in_the_directory,
}


@pytest.mark.parametrize("trouble", in_part(list(AWAY)))
@pytest.mark.parametrize("side", ["origin", "destination"])
async def test_a_database_that_is_away_is_waited_for_and_no_pupil_is_blamed(
    batch: Batch, side: str, trouble: str
) -> None:
    async with AWAY[trouble](batch, batch.side(side)), batch.world.service(Work.MOVE):
        waiting = await batch.all_are(Reason.TENANT_UNAVAILABLE, attempts=2)
    assert await _unsplit(batch, waiting)
    await batch.school_can_work()
    async with batch.world.service(Work.MOVE):
        await batch.moves_in_the_end()


@pytest.mark.parametrize("side", ["origin", "destination"])
@pytest.mark.parametrize("trouble", in_part(["password", "connection limit"]))
async def test_a_server_that_lets_nobody_in_is_waited_for(batch: Batch, side: str, trouble: str) -> None:
    school = batch.side(side)
    login = login_of(Service.TRANSFER, school.uai)
    right = password_of(ACCESS.logins[Service.TRANSFER], login)
    await _change_role(batch, school, login, "CONNECTION LIMIT 0" if trouble == "connection limit" else "PASSWORD 'x'")
    async with batch.world.service(Work.MOVE):
        waiting = await batch.all_are(Reason.TENANT_UNAVAILABLE, attempts=2)
        await batch.school_can_work()
        await _change_role(batch, school, login, f"CONNECTION LIMIT -1 PASSWORD '{right}'")
        await batch.moves_in_the_end()
    assert await _unsplit(batch, waiting)


async def _change_role(batch: Batch, school: School, role: str, options: str) -> None:
    cluster, _ = await batch.database(school)
    async with await psycopg.AsyncConnection.connect(cluster, dbname="postgres", autocommit=True) as server:
        await server.execute(f"ALTER ROLE {role} {options}".encode())


@pytest.mark.parametrize("side", ["origin", "destination"])
async def test_a_full_disk_sets_the_whole_batch_aside_at_once(batch: Batch, side: str) -> None:
    async with batch.world.service(Work.MOVE):
        async with _full_by_error_code(batch, batch.side(side)):
            await batch.try_again()
            held = await batch.all_are(Reason.TENANT_UNAVAILABLE)
            assert await _unsplit(batch, held)
            assert {transfer["state"] for transfer in held} == {"held"}
            assert "full" in held[0]["detail"]
        await batch.school_can_work()
        await batch.moves_in_the_end()


@contextmanager
def _small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own, in memory, that PostgreSQL may write to."""
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/cpro-small-disk-XXXXXX"], text=True).strip())
    options = f"size={megabytes}m,mode=0777"
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True
    ).returncode:
        folder.rmdir()
        pytest.skip("no file system can be mounted here; the error code is tested above")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


@asynccontextmanager
async def _on_a_full_disk(batch: Batch, school: School) -> AsyncIterator[Path]:
    """The school's database is on a disk without a byte left. Removing the file that this gives makes room again."""
    tablespace = f"small_{uuid4().hex[:8]}"
    with _small_disk(64) as disk:
        place = disk / "tablespace"
        place.mkdir()
        os.chown(place, *_account(batch))
        await _on_postgres(batch, school, f"CREATE TABLESPACE {tablespace} LOCATION '{place}'")
        await batch.on_the_server(school, f"ALTER DATABASE {{}} SET TABLESPACE {tablespace}")
        await school.fetch("SELECT count(*) FROM pupil")  # the server's cache file of the catalog, while there is room
        filler = disk / "filler"
        try:
            _fill(filler)
            yield filler
        finally:
            filler.unlink(missing_ok=True)
            await batch.on_the_server(school, "ALTER DATABASE {} SET TABLESPACE pg_default")
            await _on_postgres(batch, school, f"DROP TABLESPACE {tablespace}")


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(1 << 12))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


@pytest.mark.parametrize(("room_for_the_fence", "state"), [(True, "held"), (False, "holding")])
async def test_a_disk_that_is_really_full_keeps_no_school_from_its_work(
    batch: Batch, room_for_the_fence: bool, state: str
) -> None:
    """With room for no row at all, the fence is what fails: before the hold. Else the landing does, and lets go."""
    if not isinstance(batch.servers, EmbeddedStack):
        pytest.skip("the server does not share this machine's file systems; the error code is tested above")
    long_text = "SELECT id, 'long', to_jsonb(repeat(md5(random()::text), 20)) FROM pupil, generate_series(1, 300)"
    await batch.origin.execute(f"INSERT INTO report (pupil_id, title, content) {long_text}")
    await batch.vacuums(batch.destination, "transfer_fence")  # an earlier test's fences have left room
    if room_for_the_fence:
        await batch.destination.execute("INSERT INTO transfer_fence VALUES (gen_random_uuid(), 1)")

    async with _on_a_full_disk(batch, batch.destination) as filler, batch.world.service(Work.MOVE):
        full = await batch.all_are(Reason.TENANT_UNAVAILABLE)
        await batch.school_can_work()
        filler.unlink()
        await batch.moves_in_the_end()

    # A new session may find no room for its own files: then it is the first step that fails.
    assert {transfer["state"] for transfer in full} <= {state, "holding"}
    assert await _unsplit(batch, full)


@pytest.mark.parametrize("trouble", in_part([_not_in_the_directory, _full_by_delete, _dropped]))
async def test_an_origin_in_trouble_after_the_landing_is_waited_for_too(batch: Batch, trouble: Trouble) -> None:
    with batch.world.process("move", crash_at="move.landed", lease_seconds=1.0) as mover:
        await mover.start()
        assert await mover.ended() == -signal.SIGKILL

    async with trouble(batch, batch.origin), batch.world.service(Work.MOVE):
        waiting = await batch.all_are(Reason.TENANT_UNAVAILABLE, attempts=3)

    assert {transfer["state"] for transfer in waiting} <= {"landed", "holding", "copying"}
    assert not (await batch.world.schools.verify()).lost
    async with batch.world.service(Work.MOVE):
        await batch.moves_in_the_end()


@slow
async def test_a_destination_that_goes_away_between_hold_and_landing_leaves_the_hold_until_it_can_be_asked(
    batch: Batch,
) -> None:
    """Nobody knows whether it has landed: letting go could double the records."""
    with batch.world.process("move", crash_at="move.held", lease_seconds=1.0) as mover:
        await mover.start()
        assert await mover.ended() == -signal.SIGKILL
    ((pupil,),) = await batch.origin.fetch("SELECT pupil_id FROM transfer_hold LIMIT 1")

    async with _dropped(batch, batch.destination), batch.world.service(Work.MOVE):
        await batch.all_are(Reason.TENANT_UNAVAILABLE, attempts=3)
        with pytest.raises(psycopg.DatabaseError) as refused:
            await batch.origin.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'x')", pupil)
        assert refused.value.sqlstate == "CP001"

    async with batch.world.service(Work.MOVE):
        await batch.moves_in_the_end()


async def test_a_hold_is_let_go_of_when_the_destination_answers_that_its_disk_is_full(batch: Batch) -> None:
    with batch.world.process("move", crash_at="move.held", lease_seconds=1.0) as mover:
        await mover.start()
        assert await mover.ended() == -signal.SIGKILL

    async with batch.world.service(Work.MOVE):
        async with _full_by_error_code(batch, batch.destination):
            await batch.world.ends("held", number=PUPILS, reason="tenant_unavailable")
            await batch.school_can_work()
        await batch.moves_in_the_end()


async def _unsplit(batch: Batch, transfers: list[dict[str, Any]]) -> bool:
    """Each was claimed as often as the others: no half went on alone."""
    assert "landing_refused" not in {transfer["reason"] for transfer in transfers}
    return len({transfer["epoch"] for transfer in transfers}) == 1


async def _on_postgres(batch: Batch, school: School, statement: str) -> None:
    cluster, _ = await batch.database(school)
    async with await psycopg.AsyncConnection.connect(cluster, dbname="postgres", autocommit=True) as server:
        await server.execute(statement)


def _account(batch: Batch) -> tuple[int, int]:
    """Who PostgreSQL runs as."""
    assert isinstance(batch.servers, EmbeddedStack)
    server = next(iter(batch.servers.postgres.values()))
    status = Path(f"/proc/{server.process.pid}").stat()
    return status.st_uid, status.st_gid
