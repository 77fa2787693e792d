"""Builds and wires the service. The only place that reads its configuration."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from cpro_media import handlers
from cpro_media.adapters.decoder import SubprocessDecoder
from cpro_media.adapters.objects import BucketObjects
from cpro_media.adapters.postgres import PostgresImages
from cpro_media.config import Config
from cpro_platform.auth import Authenticator
from cpro_platform.clock import Clock, SystemClock
from cpro_platform.database import Database, prepare_own_database
from cpro_platform.logs import get_logger
from cpro_platform.metrics import Metrics
from cpro_platform.object_store import ObjectStore
from cpro_platform.process import Background
from cpro_platform.readiness import Readiness
from cpro_platform.transience import is_transient

MIGRATIONS = Path(__file__).parent / "migrations"
NAME = "cpro-media"
_log = get_logger(__name__)


class Service:
    """The service, wired. An async context manager that opens its connections and closes them.

    With `background` it also sweeps, as `cpro-media sweep` does; an installation runs that beside any number of API
    processes.
    """

    def __init__(
        self, config: Config, *, clock: Clock | None = None, metrics: Metrics | None = None, background: bool = True
    ) -> None:
        self.config = config
        self.clock = clock or SystemClock()
        self.metrics = metrics or Metrics()
        self.readiness = Readiness()
        self.authenticator = Authenticator(config.oidc, self.clock)
        self.background = Background(self.readiness)
        self._runs_background = background
        self._opened = AsyncExitStack()
        self._database = Database(config.database.conninfo, name=NAME, max_connections=config.database.max_connections)
        self._store = ObjectStore(config.object_store)
        self.decoder = SubprocessDecoder(config.decoder)
        self.images = PostgresImages(self._database)
        self.objects = BucketObjects(self._store)
        self.readiness.add_probe("database", self._database.ping)
        self.readiness.add_probe("object-store", self._store.ping)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            opening.push_async_callback(self._store.close)
            await self._database.open()
            opening.push_async_callback(self._database.close)
            if self._runs_background:
                opening.push_async_callback(self.background.stop)
                self.background.start("sweep", self._sweep)
            self._opened = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    async def _sweep(self) -> None:
        """At the start and then at each interval, until cancelled."""
        while True:
            try:
                removed = await handlers.sweep(images=self.images, objects=self.objects, clock=self.clock)
                if removed:
                    _log.info("image.swept", objects=removed)
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("image.sweep_waiting", error=type(error).__name__)
            await asyncio.sleep(self.config.sweep_interval_seconds)


async def prepare(config: Config) -> None:
    """Create the service's database and bucket where absent, and bring the schema to the newest. Safe to repeat."""
    await prepare_own_database(config.database, MIGRATIONS)
    store = ObjectStore(config.object_store)
    try:
        await store.ensure_bucket()
    finally:
        await store.close()
