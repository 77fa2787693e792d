"""A service's own PostgreSQL database: connections and transactions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

Connection = AsyncConnection[tuple[Any, ...]]


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

    async def open(self) -> None:
        """Start connecting. Does not wait for the server: it may come up later."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Connection]:
        """A transaction: committed on leaving the block, rolled back if it raises."""
        async with self._pool.connection() as connection, connection.transaction():
            if self._prologue:
                await connection.execute(self._prologue)
            yield connection

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
