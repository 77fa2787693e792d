"""The directory of tenants: which cluster and database an establishment's records are in. No credentials here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from psycopg.rows import class_row

from cpro_platform.database import Database

MIGRATIONS = Path(__file__).parent / "directory_migrations"

_COLUMNS = "uai, cluster, database, schema_version, state"


class TenantState(StrEnum):
    """Where a tenant stands in its own life."""

    CREATING = "creating"
    ACTIVE = "active"
    MIGRATION_FAILED = "migration_failed"


@dataclass(frozen=True, slots=True)
class Tenant:
    """The place of one establishment's database."""

    uai: str
    cluster: str
    database: str
    schema_version: str | None
    state: TenantState

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", TenantState(self.state))


class Directory:
    """Reads and keeps the directory."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, uai: str) -> Tenant | None:
        """The tenant of this UAI, whatever its state, or None."""
        async with self._database.begin() as tx, tx.cursor(row_factory=class_row(Tenant)) as cursor:
            await cursor.execute(f"SELECT {_COLUMNS} FROM tenant WHERE uai = %s", (uai,))  # noqa: S608
            return await cursor.fetchone()

    async def all_tenants(self) -> list[Tenant]:
        """Every tenant, by UAI."""
        async with self._database.begin() as tx, tx.cursor(row_factory=class_row(Tenant)) as cursor:
            await cursor.execute(f"SELECT {_COLUMNS} FROM tenant ORDER BY uai")  # noqa: S608
            return await cursor.fetchall()

    async def announce(self, uai: str, cluster: str, database: str) -> Tenant:
        """Enter a tenant that is about to be created, or find the one that is there: the first entry decides."""
        async with self._database.begin() as tx:
            await tx.execute(
                """
                INSERT INTO tenant (uai, cluster, database, state) VALUES (%s, %s, %s, 'creating')
                ON CONFLICT DO NOTHING
                """,
                (uai, cluster, database),
            )
        tenant = await self.find(uai)
        if tenant is None:
            raise ValueError(f"database {database} of cluster {cluster} belongs to another establishment")
        return tenant

    async def note_migrated(self, uai: str, schema_version: str) -> None:
        """The tenant's database is at this schema version and may be used."""
        await self._set_state(uai, TenantState.ACTIVE, schema_version)

    async def note_migration_failed(self, uai: str) -> None:
        """The tenant's database could not be migrated; its version in the directory stays the last known one."""
        await self._set_state(uai, TenantState.MIGRATION_FAILED, None)

    async def _set_state(self, uai: str, state: TenantState, schema_version: str | None) -> None:
        async with self._database.begin() as tx:
            await tx.execute(
                """
                UPDATE tenant SET state = %s, schema_version = coalesce(%s, schema_version),
                    migrated_at = CASE WHEN %s::text IS NULL THEN migrated_at ELSE now() END
                WHERE uai = %s
                """,
                (state, schema_version, schema_version, uai),
            )


@asynccontextmanager
async def opened(directory_url: str, *, name: str = "cpro-directory") -> AsyncIterator[Directory]:
    """The directory behind a connection of its own, for tools."""
    database = Database(directory_url, name=name, max_connections=2)
    await database.open()
    try:
        yield Directory(database)
    finally:
        await database.close()
