"""Databases that earlier tests have done with, emptied: a new one takes half a second, 8 MB and 300 files.

A database comes back to the shelf only if its tables, functions, triggers and settings are as they were when it was new,
and little was in it: whatever a test has changed, dropped or filled stays where it is, and the next test gets a new one.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from cpro_platform import migrations
from cpro_platform.database import Connection, create_database, database_conninfo

_PATIENCE = "-c lock_timeout=5s -c statement_timeout=20s -c synchronous_commit=off"
_GROWN_BYTES = 4_000_000
_END_SESSIONS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
)

# All that a test may have changed but rows. What the services may do is granted anew each time.
_SCHEMA: LiteralString = """
WITH ours AS (SELECT * FROM pg_class WHERE relnamespace = 'public'::regnamespace)
SELECT md5(string_agg(said, E'\n' ORDER BY said)) FROM (
    SELECT concat_ws(' ', 'relation', relname, relkind, relowner::regrole, reltablespace, reloptions::text,
        pg_get_viewdef(oid)) AS said
    FROM ours WHERE relkind <> 'i' AND relkind <> 't'
    UNION ALL SELECT concat_ws(' ', 'column', relname, attname, atttypid::regtype, attnotnull, attgenerated, attidentity,
        pg_get_expr(adbin, adrelid))
    FROM ours JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND relkind <> 'i'
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(c.oid), convalidated)
    FROM pg_constraint c WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat_ws(' ', 'trigger', tgenabled, pg_get_triggerdef(t.oid))
    FROM pg_trigger t WHERE NOT tgisinternal
    UNION ALL SELECT 'function ' || pg_get_functiondef(p.oid)
    FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND prokind IN ('f', 'p')
    UNION ALL SELECT concat_ws(' ', 'namespace', nspname) FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\\_temp%' AND nspname NOT LIKE 'pg\\_toast%'
    UNION ALL SELECT concat_ws(' ', 'extension', extname, extversion) FROM pg_extension
    UNION ALL SELECT concat_ws(' ', 'setting', setrole::regrole, setconfig::text)
    FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase AND datname = current_database()
    UNION ALL SELECT concat_ws(' ', 'database', datallowconn, datconnlimit, dattablespace, datdba::regrole)
    FROM pg_database WHERE datname = current_database()
)
"""
_TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
_ALWAYS = "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgenabled = 'A'"
_START_AGAIN = "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence"


@dataclass(frozen=True, slots=True)
class Kind:
    """Databases of one schema."""

    name: str
    migrations: Path


@dataclass(frozen=True, slots=True)
class _AsNew:
    schema: str
    bytes: int
    rows: dict[str, list[Any]]
    """By table, what the migrations put there."""


@dataclass(slots=True)
class Shelf:
    """The databases of a process that nobody uses just now, by cluster and kind."""

    _ready: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    _as_new: dict[tuple[str, str], _AsNew] = field(default_factory=dict)

    async def take(self, cluster: str, kind: Kind) -> str:
        """An empty database on a cluster, at the newest schema, for one test; returns its connection string."""
        place = (cluster, kind.name)
        if self._ready[place]:
            return self._ready[place].pop()
        conninfo = database_conninfo(cluster, f"cpro_{kind.name}_{uuid4().hex[:8]}")
        await create_database(cluster, str(conninfo_to_dict(conninfo)["dbname"]))
        await asyncio.to_thread(migrations.upgrade, conninfo, kind.migrations)
        if place not in self._as_new:
            async with await AsyncConnection.connect(conninfo) as connection:
                self._as_new[place] = await _seen(connection)
        return conninfo

    async def give_back(self, cluster: str, kind: Kind, conninfo: str) -> None:
        """Empty it for the next test; or leave it alone, if it is not as it was, or can't be reached any more."""
        place = (cluster, kind.name)
        try:
            async with await AsyncConnection.connect(database_conninfo(cluster, "postgres")) as connection:
                await connection.execute(_END_SESSIONS, (conninfo_to_dict(conninfo)["dbname"],))
            async with await AsyncConnection.connect(conninfo, options=_PATIENCE) as connection:
                if await _emptied(connection, self._as_new[place]):
                    await connection.commit()
                    self._ready[place].append(conninfo)
        except psycopg.Error:
            return  # a test has dropped it, filled its disk or stopped its server: nobody gets it again


SHELF = Shelf()


async def _seen(connection: Connection) -> _AsNew:
    rows = {}
    for table in await _names(connection, _TABLES):
        told = await connection.execute(sql.SQL("SELECT to_jsonb(t) FROM {} t").format(sql.Identifier(table)))
        if found := [row[0] for row in await told.fetchall()]:
            rows[table] = found
    return _AsNew(await _one(connection, _SCHEMA), await _size(connection), rows)


async def _emptied(connection: Connection, as_new: _AsNew) -> bool:
    grown = await _size(connection) - as_new.bytes
    if grown > _GROWN_BYTES or await _one(connection, _SCHEMA) != as_new.schema:
        return False
    await connection.execute("SET session_replication_role = replica")
    tables = await _names(connection, _TABLES)
    used = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} WHERE EXISTS (SELECT 1 FROM {})").format(table, sql.Identifier(table)) for table in tables
    )
    for (table,) in await (await connection.execute(used)).fetchall():
        await _empty(connection, table, as_new.rows.get(table, []))
    await connection.execute(_START_AGAIN)
    return True


async def _empty(connection: Connection, table: str, rows: list[Any]) -> None:
    name = sql.Identifier(table)
    guards = [sql.Identifier(guard) for guard in await _names(connection, _ALWAYS, f'public."{table}"')]
    for guard in guards:
        await connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}").format(name, guard))
    await connection.execute(sql.SQL("DELETE FROM {}").format(name))
    if rows:
        again = "INSERT INTO {0} SELECT * FROM jsonb_populate_recordset(NULL::{0}, %s)"
        await connection.execute(sql.SQL(again).format(name), (Jsonb(rows),))
    for guard in guards:
        await connection.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(name, guard))


async def _one(connection: Connection, query: LiteralString) -> Any:
    row = await (await connection.execute(query)).fetchone()
    return row[0] if row else None


async def _size(connection: Connection) -> int:
    return int(await _one(connection, "SELECT pg_database_size(current_database())"))


async def _names(connection: Connection, query: LiteralString, *arguments: str) -> list[str]:
    return [row[0] for row in await (await connection.execute(query, arguments)).fetchall()]
