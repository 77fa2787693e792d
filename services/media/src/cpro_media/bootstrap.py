"""Builds and wires the service. The only place that reads its configuration."""

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from cpro_media.adapters.decoder import SubprocessDecoder
from cpro_media.adapters.objects import BucketObjects
from cpro_media.adapters.postgres import PostgresImages
from cpro_media.config import Config
from cpro_media.handlers import sweeping
from cpro_media.handlers.sweeping import Swept
from cpro_platform.auth import Authenticator
from cpro_platform.clock import Clock, SystemClock
from cpro_platform.database import Database, prepare_own_database
from cpro_platform.logs import get_logger
from cpro_platform.metrics import Metrics
from cpro_platform.object_store import ObjectStore
from cpro_platform.process import Background
from cpro_platform.readiness import Readiness
from cpro_platform.retry import regularly

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
        self._database.measure(self.metrics, f"{NAME}/service")
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

    async def sweep_all(self, *, dry_run: bool = False) -> Swept:
        """Remove what no image refers to, once, or say what would be removed."""
        return await sweeping.sweep_all(images=self.images, objects=self.objects, clock=self.clock, dry_run=dry_run)

    async def _sweep(self) -> None:
        """At the start and then at each interval, until cancelled; the whole store at the start and then daily."""
        whole_store_at = self.clock.now()

        async def sweep() -> None:
            nonlocal whole_store_at
            if self.clock.now() >= whole_store_at:
                swept = await self.sweep_all()
                whole_store_at = self.clock.now() + timedelta(seconds=self.config.orphan_sweep_interval_seconds)
            else:
                swept = Swept(due=await sweeping.sweep(images=self.images, objects=self.objects, clock=self.clock))
            if swept.due or swept.orphans:
                _log.info("image.swept", objects=swept.due, orphans=swept.orphans)
            if swept.missing:
                _log.error("image.object_missing", objects=swept.missing)

        await regularly(sweep, self.config.sweep_interval_seconds, log=_log, waiting="image.sweep_waiting")


async def prepare(config: Config) -> None:
    """Create the service's database and bucket where absent, and bring the schema to the newest. Safe to repeat."""
    await prepare_own_database(config.database, MIGRATIONS)
    store = ObjectStore(config.object_store)
    try:
        await store.ensure_bucket()
    finally:
        await store.close()
