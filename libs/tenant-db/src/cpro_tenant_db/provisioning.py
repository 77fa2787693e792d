"""Create, migrate and check the databases of establishments."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import sqlalchemy.exc
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from cpro_contracts.identifiers import parse_uai
from cpro_platform import migrations
from cpro_platform.database import Connection, create_database, database_conninfo
from cpro_tenant_db import catalogue, roles
from cpro_tenant_db.directory import MIGRATIONS as DIRECTORY_MIGRATIONS
from cpro_tenant_db.directory import Directory, Tenant
from cpro_tenant_db.roles import TenantAccess

MIGRATIONS = Path(__file__).parent / "migrations"


def schema_version() -> str:
    """The schema version that this code works with."""
    return migrations.head_of(MIGRATIONS)


def database_of(uai: str) -> str:
    """The name of an establishment's database."""
    return f"cpro_tenant_{uai.lower()}"


class UnknownClusterError(ValueError):
    """The cluster is not among the configured ones."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be in a tenant."""

    uai: str
    problem: str


NO_ACCESS = TenantAccess()
"""No service has a login of its own: all connect as the user of the cluster's connection string."""


async def prepare_directory(directory_url: str, access: TenantAccess = NO_ACCESS) -> None:
    """Create the directory's database if it is absent, bring it to the current schema, let the services read it."""
    database = str(conninfo_to_dict(directory_url)["dbname"])
    await create_database(directory_url, database)
    await asyncio.to_thread(migrations.upgrade, directory_url, DIRECTORY_MIGRATIONS)
    if access.is_kept:
        await roles.let_in_to_directory(directory_url, database, access)


async def create_tenant(
    directory: Directory, clusters: Mapping[str, str], uai: str, cluster: str, access: TenantAccess = NO_ACCESS
) -> Tenant:
    """Create an establishment's database, or finish a creation that was interrupted. Repeating it changes nothing.

    Raises:
        MalformedUaiError: this is not a UAI.
        UnknownClusterError: no such cluster in the settings.
    """
    uai = parse_uai(uai)
    if cluster not in clusters:
        raise UnknownClusterError(cluster)
    tenant = await directory.announce(uai, cluster, database_of(uai))
    await create_database(clusters[tenant.cluster], tenant.database)
    return await migrate_tenant(directory, clusters, tenant, access)


async def migrate_tenant(
    directory: Directory, clusters: Mapping[str, str], tenant: Tenant, access: TenantAccess = NO_ACCESS
) -> Tenant:
    """Bring one tenant to the current schema version, let the services in, and note it in the directory.

    Raises:
        UnknownClusterError: the tenant's cluster is not in the settings.
        sqlalchemy.exc.SQLAlchemyError: the migration failed; the directory says so.
        psycopg.Error: the services could not be let in; the directory says the same.
    """
    if tenant.cluster not in clusters:
        raise UnknownClusterError(tenant.cluster)
    conninfo = database_conninfo(clusters[tenant.cluster], tenant.database)
    try:
        await asyncio.to_thread(migrations.upgrade, conninfo, MIGRATIONS)
        if access.is_kept:
            await roles.let_in(clusters[tenant.cluster], tenant.database, tenant.uai, access)
    except (sqlalchemy.exc.SQLAlchemyError, psycopg.Error):
        await directory.note_migration_failed(tenant.uai)
        raise
    await directory.note_migrated(tenant.uai, schema_version())
    found = await directory.find(tenant.uai)
    assert found is not None
    return found


async def migrate_all(
    directory: Directory,
    clusters: Mapping[str, str],
    *,
    concurrency: int = 4,
    access: TenantAccess = NO_ACCESS,
    all_of_them: bool = False,
) -> AsyncIterator[tuple[Tenant, Exception | None]]:
    """Migrate every tenant that is behind, `concurrency` at a time, yielding each as it ends.

    One that fails does not stop the others. Resumable: tenants already at the version are not touched, unless
    `all_of_them` are asked for, which lets the services in where they were not.
    """
    behind = [
        tenant for tenant in await directory.all_tenants() if all_of_them or tenant.schema_version != schema_version()
    ]
    turns = asyncio.Semaphore(concurrency)

    async def one(tenant: Tenant) -> tuple[Tenant, Exception | None]:
        async with turns:
            try:
                return await migrate_tenant(directory, clusters, tenant, access), None
            except (sqlalchemy.exc.SQLAlchemyError, psycopg.Error, UnknownClusterError) as error:
                return tenant, error

    for done in asyncio.as_completed([one(tenant) for tenant in behind]):
        yield await done


async def check_tenant(clusters: Mapping[str, str], tenant: Tenant) -> Sequence[Finding]:
    """What is wrong with a tenant: another schema version than the directory or the code says, a catalogue gap."""
    try:
        async with await AsyncConnection.connect(
            database_conninfo(clusters[tenant.cluster], tenant.database)
        ) as connection:
            problems = await _problems(connection, tenant)
    except KeyError:
        problems = [f"cluster {tenant.cluster} is not in the settings"]
    except psycopg.OperationalError as error:
        problems = [f"does not answer ({type(error).__name__})"]
    return [Finding(tenant.uai, problem) for problem in problems]


async def _problems(connection: Connection, tenant: Tenant) -> list[str]:
    live = await live_schema_version(connection)
    problems = []
    if live != schema_version():
        problems.append(f"schema version is {live}, expected {schema_version()}")
    if live != tenant.schema_version:
        problems.append(f"schema version is {live}, the directory says {tenant.schema_version}")
    problems += [str(gap) for gap in await catalogue.gaps(connection)]
    return problems


async def live_schema_version(connection: Connection) -> str | None:
    """The schema version that the database itself says."""
    exists = await (await connection.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL")).fetchone()
    if not exists or not exists[0]:
        return None
    row = await (await connection.execute("SELECT version_num FROM public.alembic_version")).fetchone()
    return str(row[0]) if row else None
