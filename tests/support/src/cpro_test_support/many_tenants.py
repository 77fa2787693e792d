"""Establishments by the hundred: their databases are copies of one that was migrated."""

import asyncio
from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from cpro_contracts.identifiers import uai_key
from cpro_platform import migrations
from cpro_platform.config import TenantSettings
from cpro_platform.database import create_database, database_conninfo
from cpro_tenant_db import directory, provisioning, roles
from cpro_tenant_db.roles import TenantAccess

_TEMPLATE = "cpro_template"
_FIRST = 9_400_000


def invented_uais(number: int) -> list[str]:
    """So many UAIs of a department that does not exist."""
    return [f"{first:07d}{uai_key(first)}" for first in range(_FIRST, _FIRST + number)]


async def create_tenants(tenants: TenantSettings, uais: Sequence[str], access: TenantAccess) -> dict[str, str]:
    """Create the establishments, spread over the clusters. Returns where each database is: UAI to connection string."""
    clusters = tenants.cluster_conninfos
    share = {name: uais[number :: len(clusters)] for number, name in enumerate(clusters)}
    made = await asyncio.gather(*(_create_on(clusters[name], share[name]) for name in clusters))
    async with directory.opened(tenants.directory_conninfo) as opened:
        for name, its_uais in share.items():
            for uai in its_uais:
                await opened.announce(uai, name, provisioning.database_of(uai))
                await roles.let_in(clusters[name], provisioning.database_of(uai), uai, access)
                await opened.note_migrated(uai, provisioning.schema_version())
    found = {uai: conninfo for of_cluster in made for uai, conninfo in of_cluster.items()}
    return {uai: found[uai] for uai in uais}


async def _create_on(cluster: str, uais: Sequence[str]) -> Mapping[str, str]:
    await create_database(cluster, _TEMPLATE)
    await asyncio.to_thread(migrations.upgrade, database_conninfo(cluster, _TEMPLATE), provisioning.MIGRATIONS)
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    async with await psycopg.AsyncConnection.connect(
        database_conninfo(cluster, "postgres"), autocommit=True
    ) as connection:
        for uai in uais:
            name = sql.Identifier(provisioning.database_of(uai))
            await connection.execute(copy.format(name, sql.Identifier(_TEMPLATE)))
    return {uai: database_conninfo(cluster, provisioning.database_of(uai)) for uai in uais}
