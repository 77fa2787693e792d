"""The transfer service's login in its own database: rows yes, tables no, and the audit only grows."""

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cpro_platform.database import prepare_own_database
from cpro_test_support.transfers import TransferWorld
from cpro_transfer.bootstrap import MIGRATIONS


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET actor = 'nobody'",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
        "DROP TABLE audit_entry",
        "CREATE TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "UPDATE alembic_version SET version_num = '0'",
        "SET session_replication_role = replica",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
    ],
)
async def test_the_service_changes_no_table_and_nothing_in_the_audit(world: TransferWorld, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(world.config.database.conninfo, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


async def test_the_service_reads_the_audit(world: TransferWorld) -> None:
    async with await psycopg.AsyncConnection.connect(world.config.database.conninfo, autocommit=True) as connection:
        await connection.execute("SELECT * FROM audit_entry")
        await connection.execute("UPDATE transfer SET state = state")


async def test_a_services_database_lets_no_other_login_in(world: TransferWorld) -> None:
    login = conninfo_to_dict(world.config.database.conninfo)
    stranger = make_conninfo(world.config.database.owner_conninfo, user="stranger_to_transfers", password="x")
    owner = make_conninfo(world.config.database.owner_conninfo, dbname="postgres")
    async with await psycopg.AsyncConnection.connect(owner, autocommit=True) as connection:
        await connection.execute("DROP ROLE IF EXISTS stranger_to_transfers")
        await connection.execute("CREATE ROLE stranger_to_transfers LOGIN PASSWORD 'x'")

    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        await psycopg.AsyncConnection.connect(make_conninfo(stranger, dbname=str(login["dbname"])))


async def test_preparing_again_changes_nothing(world: TransferWorld) -> None:
    await prepare_own_database(world.config.database, MIGRATIONS, append_only=["audit_entry"])

    await test_the_service_changes_no_table_and_nothing_in_the_audit(world, "DELETE FROM audit_entry")
