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
        # Not `wait_for`: before Python 3.12 it forgets a cancellation that comes while the bell rings, and a mover that
        # was told to stop would go on for ever.
        async with self._bell:
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._bell.wait()
            except TimeoutError:
                return

    async def ring(self) -> None:
        """Wake everybody who waits."""
        async with self._bell:
            self._bell.notify_all()

    async def listen(self) -> None:
        """Ring at every notification until cancelled. While the database is away the movers poll."""
        delays = backoff(longest_seconds=10)
        while True:
            try:
                async with self._database.session() as session:
                    await session.execute(f"LISTEN {DUE_CHANNEL}")
                    delays = backoff(longest_seconds=10)
                    async for _ in session.notifies():
                        await self.ring()
            except Exception as error:
                if not is_transient(error):
                    raise
                structlog.get_logger().warning("mover.not_listening", error=type(error).__name__)
                await asyncio.sleep(next(delays))
