"""What the processes of transfers measure. Labels hold states and reasons of closed lists, no school and no pupil."""

import asyncio
from datetime import datetime, timedelta

from cpro_platform.database import Connection, Database
from cpro_platform.logs import get_logger
from cpro_platform.metrics import Metrics
from cpro_platform.transience import is_transient
from cpro_transfer.adapters.statistics import TransferStatistics
from cpro_transfer.domain.statistics import Statistics
from cpro_transfer.domain.sweeping import GOING, SUSPECT
from cpro_transfer.handlers.retaining import Forgotten
from cpro_transfer.handlers.sweeping import Swept

_LANDING_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
_TURN = 0x7472616E  # "tran": whose turn it is, in the transfer database
_WINDOW = timedelta(days=1)
_log = get_logger(__name__)


class LandingTimes:
    """How long each landing took, counted by the mover that landed it."""

    def __init__(self, metrics: Metrics) -> None:
        self._seconds = metrics.histogram(
            "cpro_transfer_landing_seconds",
            "Time from the second of the two facts, as committed in its school, to the landing",
            buckets=_LANDING_SECONDS,
        )

    def __call__(self, seconds: float) -> None:
        """One transfer has landed. Clocks of two servers may differ: less than nothing is nothing."""
        self._seconds.observe(max(seconds, 0))


class TransferGauges:
    """The statistics as metrics of whichever process has its turn; the others show none, so that sums are right."""

    def __init__(
        self, database: Database, statistics: TransferStatistics, metrics: Metrics, *, refresh_seconds: float
    ) -> None:
        self._database = database
        self._statistics = statistics
        self._refresh_seconds = refresh_seconds
        self._number = metrics.gauge("cpro_transfers", "Transfers in this state, for this reason", ["state", "reason"])
        self._oldest = metrics.gauge(
            "cpro_transfer_oldest_seconds",
            "Time since the second of the two facts, of the oldest transfer in this state, for this reason",
            ["state", "reason"],
        )
        self._taken_at = metrics.gauge(
            "cpro_transfer_statistics_timestamp_seconds", "When the figures were read; 0 where another process reads"
        )

    async def run(self) -> None:
        """Refresh every `refresh_seconds` until cancelled, while it is this process's turn; else wait for it."""
        while True:
            try:
                async with self._database.session() as session:
                    await self._refresh_in_turn(session)
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("statistics.waiting", error=type(error).__name__)
            finally:
                self._forget()
            await asyncio.sleep(self._refresh_seconds)

    async def _refresh_in_turn(self, session: Connection) -> None:
        """Returns when it is another's turn. The turn lasts as long as the session."""
        row = await (await session.execute("SELECT pg_try_advisory_lock(%s)", (_TURN,))).fetchone()
        while row is not None and row[0]:
            async with session.transaction():
                statistics = await self._statistics.read_in(session, _WINDOW)
            self._show(statistics)
            await asyncio.sleep(self._refresh_seconds)

    def _show(self, statistics: Statistics) -> None:
        self._forget()
        for standing in statistics.standings:
            labels = (str(standing.state), str(standing.reason or ""))
            self._number.labels(*labels).set(standing.number)
            if standing.oldest_called_for_at is not None:
                age = statistics.taken_at - standing.oldest_called_for_at
                self._oldest.labels(*labels).set(max(age.total_seconds(), 0))
        self._taken_at.set(statistics.taken_at.timestamp())

    def _forget(self) -> None:
        self._number.clear()
        self._oldest.clear()
        self._taken_at.set(0)


class RetentionMeasures:
    """What the daily job of this process has let go of, and whether all could be asked the last time."""

    def __init__(self, metrics: Metrics) -> None:
        self._rows = metrics.counter("cpro_transfer_forgotten_rows_total", "Rows kept long enough, by kind", ["kind"])
        self._unread = metrics.gauge(
            "cpro_transfer_retention_unread_establishments", "Establishments that the last daily job could not ask"
        )
        self._ended_at = metrics.gauge("cpro_transfer_retention_timestamp_seconds", "When the last daily job ended")

    def __call__(self, forgotten: Forgotten, ended_at: datetime) -> None:
        """The job has ended."""
        for kind, number in forgotten.rows.items():
            self._rows.labels(kind).inc(number)
        self._unread.set(len(forgotten.unread))
        self._ended_at.set(ended_at.timestamp())


class SweepMeasures:
    """What the sweeps of this process have removed, and what the last one left for a person to look at."""

    def __init__(self, metrics: Metrics) -> None:
        self._files = metrics.counter("cpro_transfer_swept_files_total", "Files of records removed, by why", ["fate"])
        self._bytes = metrics.counter("cpro_transfer_swept_bytes_total", "Bytes of records removed, by why", ["fate"])
        self._suspect = metrics.gauge(
            "cpro_transfer_sweep_suspect_files", "Files that the last sweep kept and somebody should look at", ["fate"]
        )
        self._ended_at = metrics.gauge("cpro_transfer_sweep_timestamp_seconds", "When the last sweep ended")

    def __call__(self, swept: Swept, ended_at: datetime) -> None:
        """A sweep has ended."""
        for fate in sorted(GOING):
            self._files.labels(str(fate)).inc(swept.files.get(fate, 0))
            self._bytes.labels(str(fate)).inc(swept.bytes.get(fate, 0))
        for fate in sorted(SUSPECT):
            self._suspect.labels(str(fate)).set(swept.files.get(fate, 0))
        self._ended_at.set(ended_at.timestamp())
