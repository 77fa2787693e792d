"""Wake the movers when a transfer is due: a notification from the transfer database, else a poll of it."""

import asyncio

import structlog

from cpro_platform.database import Database
from cpro_platform.retry import backoff
from cpro_platform.transience import is_transient
from cpro_transfer.adapters.projection import DUE_CHANNEL


class DueTransfers:
    """A bell that rings when there may be something to do. Any number of movers wait on it."""

    def __init__(self, database: Database, *, poll_seconds: float) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._bell = asyncio.Condition()

    async def wait(self) -> None:
        """Until it rings, `poll_seconds` at most."""
        async with self._bell:
            try:
                await asyncio.wait_for(self._bell.wait(), timeout=self._poll_seconds)
            except TimeoutError:
                return

    async def listen(self) -> None:
        """Ring at every notification until cancelled. While the database is away the movers poll."""
        delays = backoff(longest_seconds=10)
        while True:
            try:
                async with self._database.session() as session:
                    await session.execute(f"LISTEN {DUE_CHANNEL}")
                    delays = backoff(longest_seconds=10)
                    async for _ in session.notifies():
                        async with self._bell:
                            self._bell.notify_all()
            except Exception as error:
                if not is_transient(error):
                    raise
                structlog.get_logger().warning("mover.not_listening", error=type(error).__name__)
                await asyncio.sleep(next(delays))
