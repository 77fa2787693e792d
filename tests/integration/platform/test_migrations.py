"""Many tenants are migrated side by side: each its own database, none another's."""

import asyncio

import psycopg

from cpro_platform import migrations
from cpro_tenant_db.provisioning import MIGRATIONS, schema_version
from cpro_test_support.schools import fresh_database
from cpro_test_support.servers import Servers


async def test_databases_migrated_at_the_same_time_all_reach_the_version(servers: Servers) -> None:
    urls = [await fresh_database(servers.endpoints, "migrated") for _ in range(6)]

    await asyncio.gather(*(asyncio.to_thread(migrations.upgrade, url, MIGRATIONS) for url in urls))

    for url in urls:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            row = await (await connection.execute("SELECT version_num FROM alembic_version")).fetchone()
        assert row == (schema_version(),)
