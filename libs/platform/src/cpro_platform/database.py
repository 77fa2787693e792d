"""A service's own PostgreSQL database: connections and transactions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from cpro_platform import migrations
from cpro_platform.config import DatabaseSettings
from cpro_platform.metrics import Metrics

Connection = AsyncConnection[tuple[Any, ...]]


class _Shared(NamedTuple):
    """A transaction that what this task begins on the same database becomes a part of."""

    database: "Database"
    task: "asyncio.Task[Any] | None"
    tx: Connection


_shared: ContextVar[_Shared | None] = ContextVar("cpro_shared_transaction", default=None)


class Database:
    """A bounded pool of connections to one database.

    A transaction commits when its block is left and rolls back when the block raises; nobody else commits. With
    `idle_in_transaction_seconds` the server ends one whose process sleeps for longer, for its locks are in others' way.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        name: str,
        max_connections: int = 10,
        connect_timeout_seconds: float = 10,
        idle_in_transaction_seconds: float | None = None,
    ) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo,
            min_size=1,
            max_size=max_connections,
            timeout=connect_timeout_seconds,
            open=False,
            name=name,
            kwargs={"application_name": name},
        )
        # In each transaction, not in the session: behind PgBouncer another one may get it.
        self._prologue = idle_in_transaction_seconds and (
            f"SET LOCAL idle_in_transaction_session_timeout = {int(idle_in_transaction_seconds * 1000)}"
        )
        self.conninfo = conninfo
        self.name = name

    def measure(self, metrics: Metrics, pool: str) -> None:
        """Show how full the pool is, under this name, whenever somebody looks."""
        connections = metrics.gauge(
            "cpro_database_connections", "Connections of a pool, by whether somebody has them", ["pool", "state"]
        )
        waiting = metrics.gauge("cpro_database_waiting_requests", "Those who wait for a connection", ["pool"])
        most = metrics.gauge("cpro_database_max_connections", "Connections that a pool may open", ["pool"])
        connections.labels(pool, "idle").set_function(lambda: self._stat("pool_available"))
        connections.labels(pool, "used").set_function(lambda: self._stat("pool_size") - self._stat("pool_available"))
        waiting.labels(pool).set_function(lambda: self._stat("requests_waiting"))
        most.labels(pool).set(self._pool.max_size)

    def _stat(self, name: str) -> int:
        return self._pool.get_stats().get(name, 0)

    async def open(self) -> None:
        """Start connecting. Does not wait for the server: it may come up later."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Connection]:
        """A transaction: committed on leaving the block, rolled back if it raises.

        In a block of `one_transaction` it is a part of that one, which a raise takes back to where it began.
        """
        shared = _shared.get()
        # A task that was started inside goes its own way: two on one connection would end each other's parts.
        if shared and shared.database is self and shared.task is asyncio.current_task():
            async with shared.tx.transaction():
                yield shared.tx
            return
        async with self._pool.connection() as connection, connection.transaction():
            if self._prologue:
                await connection.execute(self._prologue)
            yield connection

    @asynccontextmanager
    async def one_transaction(self) -> AsyncIterator[Connection]:
        """A transaction that everything which this task begins on this database in the block is a part of.

        For what has to be kept together with an effect that knows nothing of it. Not around code that needs an
        earlier part to be committed, such as one that notes a tenant before it writes there.
        """
        async with self.begin() as tx:
            before = _shared.set(_Shared(self, asyncio.current_task(), tx))
            try:
                yield tx
            finally:
                _shared.reset(before)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """A dedicated connection in autocommit, outside the pool: for LISTEN and session-wide locks."""
        connection = await AsyncConnection.connect(
            self.conninfo, autocommit=True, application_name=f"{self.name}-session"
        )
        async with connection:
            yield connection

    async def ping(self) -> None:
        """Ask the server for nothing.

        Raises:
            psycopg.OperationalError: it does not answer.
        """
        async with self._pool.connection() as connection:
            await connection.execute("SELECT 1")


def database_conninfo(cluster_conninfo: str, database: str, **options: str) -> str:
    """The connection string of a database on a cluster."""
    return make_conninfo(cluster_conninfo, dbname=database, **options)


_ROLES_LOCK = 7_021_321
"""Held while roles of a cluster are changed: PostgreSQL refuses two who change one at a time, with an error."""


async def ensure_login(connection: Connection, name: str, password: str, *, member_of: str | None = None) -> None:
    """Make a role that can log in and do nothing else by itself, or give it this password. Safe to repeat.

    The server gets the password as a SCRAM verifier, so that none is in its log. `connection` is in autocommit.
    """
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    role = sql.Identifier(name)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ROLES_LOCK,))
        if member_of is not None:
            await _ensure_role(connection, member_of)
        await _ensure_role(connection, name)
        await connection.execute(
            sql.SQL("ALTER ROLE {} LOGIN NOCREATEDB NOCREATEROLE PASSWORD {}").format(role, sql.Literal(verifier))
        )
        if member_of is not None:
            await connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(member_of), role))


async def _ensure_role(connection: Connection, name: str) -> None:
    found = await connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
    if not await found.fetchone():
        await connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))


async def prepare_own_database(
    settings: DatabaseSettings, migrations_folder: Path, *, append_only: Sequence[str] = ()
) -> None:
    """Create a service's database if it is absent, bring it to the newest schema, and give the service its rights.

    With an owner in the settings the service's login is another: it reads and writes rows and can change no table, adds
    to the tables that are `append_only` and changes nothing there, and nobody else can connect. Safe to repeat.
    """
    owner, login = settings.owner_conninfo, conninfo_to_dict(settings.conninfo)
    database = str(login["dbname"])
    await create_database(owner, database)
    await asyncio.to_thread(migrations.upgrade, database_conninfo(owner, database), migrations_folder)
    if settings.owner_url is None:
        return
    # In the database that all have, for the lock on roles to be one.
    async with await AsyncConnection.connect(database_conninfo(owner, "postgres"), autocommit=True) as connection:
        await ensure_login(connection, str(login["user"]), str(login["password"]))
    async with await AsyncConnection.connect(database_conninfo(owner, database)) as connection:
        await _grant_rows(connection, database, str(login["user"]), append_only)


async def _grant_rows(connection: Connection, database: str, login: str, append_only: Sequence[str]) -> None:
    names = {"database": sql.Identifier(database), "login": sql.Identifier(login)}
    statements = [
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {login}",
        "GRANT USAGE ON SCHEMA public TO {login}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {login}",
        "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {login}",
        "REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {login}",
    ]
    for statement in statements:
        await connection.execute(sql.SQL(statement).format(**names))
    for table in append_only:
        await connection.execute(
            sql.SQL("REVOKE UPDATE, DELETE ON {} FROM {}").format(sql.Identifier(table), names["login"])
        )


async def create_database(cluster_conninfo: str, name: str) -> bool:
    """Create a database on the cluster unless it is there. Returns whether it was created."""
    maintenance = database_conninfo(cluster_conninfo, "postgres")
    async with await AsyncConnection.connect(maintenance, autocommit=True) as connection:
        found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if await found.fetchone():
            return False
        try:
            await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return False  # another process was faster
        return True
