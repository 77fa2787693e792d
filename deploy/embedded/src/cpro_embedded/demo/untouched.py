"""Whether something has written to databases: which version each row has, before and after."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import sql

from cpro_embedded.demo.errors import DemoFailedError
from cpro_embedded.demo.waiting import until

Versions = set[tuple[Any, ...]]
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
_ROWS = "SELECT {name}, ctid::text, xmin::text FROM {table}"
# What was written just before is published in the background; that is no doing of who comes next.
_UNPUBLISHED = "SELECT count(*) FROM outbox WHERE published_at IS NULL"


@asynccontextmanager
async def untouched(what: str, databases: Iterable[str]) -> AsyncIterator[None]:
    """Nothing that happens inside may write a row to these databases.

    Raises:
        DemoFailedError: something did; with the tables.
    """
    conninfos = list(databases)
    for conninfo in conninfos:
        await _settled(conninfo)
    before = [await _versions(conninfo) for conninfo in conninfos]
    yield
    after = [await _versions(conninfo) for conninfo in conninfos]
    touched = {row[0] for then, now in zip(before, after, strict=True) for row in then ^ now}
    if touched:
        raise DemoFailedError(f"{what} has written to {', '.join(sorted(touched))}")


async def _settled(conninfo: str) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:

        async def unpublished() -> int:
            row = await (await connection.execute(_UNPUBLISHED)).fetchone()
            return int(row[0]) if row else 0

        await until("every event is published", unpublished, lambda number: number == 0)


async def _versions(conninfo: str) -> Versions:
    found: Versions = set()
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        for (table,) in await (await connection.execute(_TABLES)).fetchall():
            query = sql.SQL(_ROWS).format(name=sql.Literal(table), table=sql.Identifier(table))
            found |= set(await (await connection.execute(query)).fetchall())
    return found
