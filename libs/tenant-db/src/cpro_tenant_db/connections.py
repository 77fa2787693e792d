"""Connections to tenant databases: few, shared, and gone when nobody needs them.

Ten thousand establishments are at rest most of the time. A process holds a bounded number of connections, keeps the
ones it used last for a short while, and closes them after: a tenant at rest costs no connection, no query and no timer.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from cpro_platform.concurrency import end
from cpro_platform.database import Connection, database_conninfo
from cpro_platform.metrics import Metrics
from cpro_tenant_db.directory import Directory, Tenant, TenantState
from cpro_tenant_db.errors import TenantUnavailableError, TenantUnknownError
from cpro_tenant_db.roles import ServiceLogins


@dataclass(frozen=True, slots=True)
class _Idle:
    connection: Connection
    since: float


class TenantConnections:
    """Lends connections to tenant databases. Safe for any number of tasks of one event loop."""

    def __init__(
        self,
        directory: Directory,
        clusters: Mapping[str, str],
        *,
        application_name: str,
        logins: ServiceLogins | None = None,
        max_open: int = 50,
        idle_seconds: float = 30.0,
        connect_timeout_seconds: int = 5,
    ) -> None:
        self._directory = directory
        self._clusters = dict(clusters)
        self._logins = logins
        self._application_name = application_name
        self._idle_seconds = idle_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._places: dict[str, Tenant] = {}
        # Least recently used first. One entry a connection, so that the oldest is found without a search.
        self._idle: OrderedDict[int, tuple[str, _Idle]] = OrderedDict()
        self._room = asyncio.Semaphore(max_open)  # held by every open connection that is lent
        self._max_open = max_open
        self._lent = 0
        self._reaper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def begin(self, uai: str) -> AsyncIterator[Connection]:
        """A transaction (READ COMMITTED) in the tenant's database: committed on leaving, rolled back on an exception.

        Raises:
            TenantUnknownError: no such tenant, or its database is not ready for use.
            TenantUnavailableError: the server does not answer.
        """
        async with self.connection(uai) as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def connection(self, uai: str) -> AsyncIterator[Connection]:
        """A connection to the tenant's database in autocommit. Raises as `begin` does."""
        async with self._room:
            self._lent += 1
            try:
                connection = self._take_idle(uai) or await self._connect(uai)
                try:
                    yield connection
                finally:
                    await self._give_back(uai, connection)
            finally:
                self._lent -= 1

    async def close(self) -> None:
        """Close what is idle. Connections still lent are closed when they come back."""
        self._idle_seconds = 0
        if self._reaper:
            await end({self._reaper})
        for _, idle in self._idle.values():
            await idle.connection.close()
        self._idle.clear()

    def measure(self, metrics: Metrics) -> None:
        """Show how many are open, whenever somebody looks."""
        connections = metrics.gauge(
            "cpro_tenant_connections", "Connections to establishments' databases", ["service", "state"]
        )
        most = metrics.gauge("cpro_tenant_max_connections", "As many may be lent at once", ["service"])
        connections.labels(self._application_name, "used").set_function(lambda: self._lent)
        connections.labels(self._application_name, "idle").set_function(lambda: len(self._idle))
        most.labels(self._application_name).set(self._max_open)

    @property
    def open_count(self) -> int:
        """How many connections are open now."""
        return self._lent + len(self._idle)

    def _take_idle(self, uai: str) -> Connection | None:
        for key, (owner, idle) in reversed(self._idle.items()):
            if owner == uai:
                del self._idle[key]
                return idle.connection
        return None

    async def _connect(self, uai: str) -> Connection:
        tenant = await self._place_of(uai)
        while self._idle and self.open_count > self._max_open:
            _, (_, oldest) = self._idle.popitem(last=False)
            await oldest.connection.close()
        try:
            return await AsyncConnection.connect(
                self._conninfo(tenant),
                autocommit=True,
                application_name=self._application_name,
                connect_timeout=self._connect_timeout_seconds,
            )
        except psycopg.OperationalError as error:
            self._places.pop(uai, None)
            raise TenantUnavailableError(uai) from error

    def _conninfo(self, tenant: Tenant) -> str:
        """The tenant's own: its login opens no other database."""
        conninfo = database_conninfo(self._clusters[tenant.cluster], tenant.database)
        return self._logins.to_tenant(conninfo, tenant.uai) if self._logins else conninfo

    async def _place_of(self, uai: str) -> Tenant:
        known = self._places.get(uai)
        if known is None:
            known = await self._directory.find(uai)
            if known is None or known.state is TenantState.CREATING or known.cluster not in self._clusters:
                raise TenantUnknownError(uai)
            self._places[uai] = known
        return known

    async def _give_back(self, uai: str, connection: Connection) -> None:
        reusable = (
            not connection.closed
            and connection.info.transaction_status is TransactionStatus.IDLE
            and self._idle_seconds > 0
        )
        if not reusable:
            broken = connection.closed or connection.broken
            await connection.close()
            if broken:
                # The server has gone: what else is idle on this tenant would only fail the next caller.
                await self._forget(uai)
            return
        self._idle[id(connection)] = (uai, _Idle(connection, time.monotonic()))
        if self._reaper is None or self._reaper.done():
            self._reaper = asyncio.create_task(self._close_what_rests(), name="tenant-connections-reaper")

    async def _forget(self, uai: str) -> None:
        self._places.pop(uai, None)
        for key in [key for key, (owner, _) in self._idle.items() if owner == uai]:
            _, idle = self._idle.pop(key)
            await idle.connection.close()

    async def _close_what_rests(self) -> None:
        """Runs only while something is idle."""
        while self._idle:
            _, (_, oldest) = next(iter(self._idle.items()))
            rest = oldest.since + self._idle_seconds - time.monotonic()
            if rest > 0:
                await asyncio.sleep(rest)
                continue
            _, (_, idle) = self._idle.popitem(last=False)
            await idle.connection.close()
