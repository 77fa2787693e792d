"""From a stored upload to lines for the database, off the event loop."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from cpro_contracts.identifiers import MatchSecret
from cpro_siecle_import.adapters.incoming_rows import division_rows, pupil_rows
from cpro_siecle_import.adapters.packaging import ExpansionLimits, opened_export
from cpro_siecle_import.adapters.siecle_xml import SiecleReader
from cpro_siecle_import.ports import Lines, Upload, UploadStore


class StoredExports:
    """Reads uploads. The file goes to the disk first: a zip is read from its end, and a retry needs no second way."""

    def __init__(self, uploads: UploadStore, limits: ExpansionLimits, secret: MatchSecret) -> None:
        self._uploads = uploads
        self._limits = limits
        self._secret = secret

    async def read(self, upload: Upload) -> AsyncIterator[Lines]:
        """See `ports.Exports`. One thread parses while the event loop hands on what it read before."""
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryFile() as file:
            await self._uploads.fetch(upload, file)
            stretches = _stretches(file, self._limits, self._secret)
            thread = ThreadPoolExecutor(1, thread_name_prefix="siecle-reader")
            try:
                coming = loop.run_in_executor(thread, next, stretches, None)
                while (lines := await coming) is not None:
                    coming = loop.run_in_executor(thread, next, stretches, None)
                    yield lines
            finally:
                # The thread may be in the middle of a stretch: the file outlives it.
                await asyncio.to_thread(_finish, thread, stretches)


def _finish(thread: ThreadPoolExecutor, stretches: Iterator[Lines]) -> None:
    thread.shutdown(wait=True, cancel_futures=True)
    close = getattr(stretches, "close", None)
    if close is not None:
        close()


def _stretches(file: IO[bytes], limits: ExpansionLimits, secret: MatchSecret) -> Iterator[Lines]:
    with opened_export(file, limits) as stream:
        reader = SiecleReader(stream)
        for batch in reader.batches():
            yield Lines(
                header=reader.header,
                pupils=pupil_rows(batch.pupils, secret),
                divisions=division_rows(batch.divisions),
                bytes_read=stream.bytes_read,
                bytes_expected=max(stream.expected_bytes, stream.bytes_read),
                pupils_read=reader.pupils_read,
            )
