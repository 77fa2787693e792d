"""Uploads in the object store, from the request to the worker. Chunks in, file out: never a whole file in memory."""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import IO, BinaryIO, cast

from cpro_platform import tracing
from cpro_platform.object_store import ObjectMissingError, ObjectStore
from cpro_siecle_import.errors import UploadMissingError
from cpro_siecle_import.ports import Upload

# `receive_upload` makes these keys. Anything else in the bucket is somebody else's, and is never touched.
_UPLOAD_KEY = re.compile(r"\d{7}[A-Z]/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class S3Uploads:
    """See `ports.UploadStore`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @tracing.traced("upload.keep", tracing.STORE)
    async def keep(self, object_key: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Store a stream, counting and hashing it on the way. What `chunks` raises leaves no object behind."""
        digest, size = sha256(), 0

        async def watched() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        await self._store.put_stream(object_key, watched())
        return Upload(object_key, size, digest.hexdigest())

    async def fetch(self, upload: Upload, destination: IO[bytes]) -> None:
        """Write the upload into an open file, from its beginning, and check that it is what was uploaded.

        Raises:
            UploadMissingError: it is gone, or is something else.
        """
        destination.seek(0)
        destination.truncate()
        hashing = _Hashing(cast(BinaryIO, destination))
        try:
            await self._store.download(upload.object_key, cast(BinaryIO, hashing))
        except ObjectMissingError as error:
            raise UploadMissingError(upload.object_key) from error
        if hashing.hexdigest() != upload.sha256:
            raise UploadMissingError(upload.object_key)

    async def remove(self, object_key: str) -> None:
        """Forget an upload."""
        await self._store.remove(object_key)

    async def remove_many(self, object_keys: Sequence[str]) -> None:
        """Forget uploads."""
        await self._store.remove_many(object_keys)

    async def stored_before(self, instant: datetime) -> AsyncIterator[Sequence[str]]:
        """The keys of all uploads that were stored before, a page at a time."""
        async for page in self._store.pages():
            yield [stored.key for stored in page if _UPLOAD_KEY.fullmatch(stored.key) and stored.is_older_than(instant)]


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()

    def write(self, chunk: bytes) -> int:
        self._digest.update(chunk)
        return self._file.write(chunk)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
