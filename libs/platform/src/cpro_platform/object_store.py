"""An S3 bucket, from async code: the blocking `minio` client behind a bounded pool of threads.

Only plain S3 operations are used, so any S3 server will do. Every error is translated: `StoreUnavailableError` is
waited out, `ObjectMissingError` is an answer, anything else is a fault in the configuration or the code.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import BinaryIO, Protocol, TypeVar

import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from cpro_platform.config import ObjectStoreSettings
from cpro_platform.errors import RetryableError

PART_BYTES = 8 * 1024 * 1024
"""Size of the parts of a multipart upload; one part is in memory at a time. S3 allows 10,000 parts."""
READ_BYTES = 256 * 1024
_MISSING_CODES = {"NoSuchKey", "NoSuchObject", "ResourceNotFound"}
_BUSY_CODES = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "503 Service Unavailable"}

Result = TypeVar("Result")


class ObjectMissingError(Exception):
    """There is no object under this key."""


class StoreUnavailableError(RetryableError):
    """The object store does not answer, or asks for patience."""


class StoreError(Exception):
    """The object store refused: credentials, bucket or request are wrong."""


class Reader(Protocol):
    """What `open_stream` hands out: a blocking reader."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, empty at the end."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the store says of an object. `size` is in bytes; `content_type` is only known to `stat`."""

    key: str
    size: int
    etag: str
    content_type: str | None = None
    modified_at: datetime | None = None

    def is_older_than(self, instant: datetime) -> bool:
        """Whether it was stored before, by the store's clock. What the store does not say of is not old."""
        return self.modified_at is not None and self.modified_at < instant


class ObjectStore:
    """The objects of one bucket."""

    def __init__(self, settings: ObjectStoreSettings) -> None:
        self.bucket = settings.bucket
        timeout = urllib3.Timeout(connect=settings.connect_timeout_seconds, read=settings.read_timeout_seconds)
        retries = urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504])
        self._http = urllib3.PoolManager(maxsize=settings.max_connections, timeout=timeout, retries=retries)
        self._client = Minio(
            settings.endpoint,
            access_key=settings.access_key.get_secret_value(),
            secret_key=settings.secret_key.get_secret_value(),
            secure=settings.secure,
            region=settings.region,  # given, so that the client does not ask the server for it
            http_client=self._http,
        )
        self._threads = ThreadPoolExecutor(settings.max_connections, thread_name_prefix="object-store")

    async def close(self) -> None:
        """Wait for what is under way and close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        self._http.clear()

    async def ensure_bucket(self) -> None:
        """Create the bucket unless it is there. Safe from several processes at once."""
        await self._run(self._ensure_bucket)

    async def ping(self) -> None:
        """Ask for the bucket.

        Raises:
            StoreUnavailableError: the store is away.
            StoreError: the bucket does not exist or may not be seen.
        """
        if not await self._run(lambda: self._client.bucket_exists(self.bucket)):
            raise StoreError(f"bucket {self.bucket} does not exist")

    async def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        length: int | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write an object, whole or not at all. `length` in bytes is needed where `data` is a file.

        Safe to repeat: the same key with the same bytes is the same object.
        """
        stream = io.BytesIO(data) if isinstance(data, bytes) else data
        size = len(data) if isinstance(data, bytes) else -1 if length is None else length
        await self._run(partial(self._put, key, stream, size, content_type, metadata))

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write an object from chunks of any size, holding one part of `PART_BYTES` in memory.

        Whatever `chunks` raises abandons the upload, leaves no object, and comes out of here unchanged.
        """
        reader = _ChunkReader(chunks, asyncio.get_running_loop())
        try:
            await self._run(partial(self._put, key, reader, -1, content_type, metadata))
        finally:
            reader.abandon()

    async def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            ObjectMissingError: there is none.
        """
        return await self._run(partial(self._read_all, key))

    async def download(self, key: str, destination: BinaryIO) -> int:
        """Write the object into an open file; returns its size in bytes.

        Raises:
            ObjectMissingError: there is none.
        """
        return await self._run(partial(self._download, key, destination))

    @contextmanager
    def open_stream(self, key: str) -> Iterator[Reader]:
        """A reader of the object, for code that already runs in a thread or a process of its own: it blocks.

        Raises:
            ObjectMissingError: there is none.
            StoreUnavailableError: on opening, or later from `read`.
        """
        with _translated(key):
            response = self._client.get_object(self.bucket, key)
        try:
            yield _ResponseReader(response, key)
        finally:
            response.close()
            response.release_conn()

    async def copy(self, source_key: str, destination_key: str) -> None:
        """Copy inside the store; no byte passes through here. Safe to repeat.

        Raises:
            ObjectMissingError: there is no source.
        """
        source = CopySource(self.bucket, source_key)
        await self._run(lambda: self._client.copy_object(self.bucket, destination_key, source), source_key)

    async def stat(self, key: str) -> StoredObject:
        """Size, etag and content type.

        Raises:
            ObjectMissingError: there is none.
        """
        found = await self._run(lambda: self._client.stat_object(self.bucket, key), key)
        return StoredObject(key, found.size or 0, found.etag or "", found.content_type)

    async def remove(self, key: str) -> None:
        """Remove an object. Removing what is not there changes nothing."""
        await self._run(lambda: self._client.remove_object(self.bucket, key), key)

    async def remove_many(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand to a request.

        Raises:
            StoreError: some could not be removed; the others are gone.
        """
        await self._run(partial(self._remove_many, list(keys)))

    async def list(self, prefix: str = "") -> Sequence[StoredObject]:
        """Every object whose key starts with `prefix`, in key order. Held in memory: not for a whole bucket."""
        return await self._run(partial(self._list, prefix))

    async def pages(self, prefix: str = "", *, objects_a_page: int = 1_000) -> AsyncIterator[Sequence[StoredObject]]:
        """The same, a page at a time: for a bucket of any size."""
        found = iter(self._client.list_objects(self.bucket, prefix=prefix, recursive=True))
        while page := await self._run(lambda: [_described(entry) for entry in islice(found, objects_a_page)]):
            yield page

    async def _run(self, work: Callable[[], Result], key: str = "") -> Result:
        def translated() -> Result:
            with _translated(key):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._threads, translated)

    def _ensure_bucket(self) -> None:
        if self._client.bucket_exists(self.bucket):
            return
        try:
            self._client.make_bucket(self.bucket)
        except S3Error as error:
            if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise

    def _put(self, key: str, stream: object, size: int, content_type: str, metadata: Mapping[str, str] | None) -> None:
        self._client.put_object(
            self.bucket,
            key,
            stream,  # type: ignore[arg-type]  # only `read` is called
            size,
            content_type=content_type,
            metadata=dict(metadata) if metadata else None,
            part_size=PART_BYTES,
            num_parallel_uploads=1,  # several would hold as many parts in memory
        )

    def _read_all(self, key: str) -> bytes:
        with self.open_stream(key) as reader:
            return reader.read()

    def _download(self, key: str, destination: BinaryIO) -> int:
        size = 0
        with self.open_stream(key) as reader:
            while chunk := reader.read(READ_BYTES):
                size += destination.write(chunk)
        return size

    def _remove_many(self, keys: Sequence[str]) -> None:
        failed = [error.code for error in self._client.remove_objects(self.bucket, map(DeleteObject, keys))]
        if failed:
            raise StoreError(f"{len(failed)} of {len(keys)} objects not removed: {failed[0]}")

    def _list(self, prefix: str) -> Sequence[StoredObject]:
        found = self._client.list_objects(self.bucket, prefix=prefix, recursive=True)
        return [_described(entry) for entry in found]


def _described(entry: Object) -> StoredObject:
    return StoredObject(entry.object_name or "", entry.size or 0, entry.etag or "", modified_at=entry.last_modified)


class _ResponseReader:
    """The body of an answer, with the errors of the line translated."""

    def __init__(self, response: urllib3.BaseHTTPResponse, key: str) -> None:
        self._response = response
        self._key = key

    def read(self, size: int = -1, /) -> bytes:
        with _translated(self._key):
            return self._response.read(None if size < 0 else size)


class _ChunkReader:
    """Async chunks as a blocking reader: called in a thread, it asks the event loop for each next chunk."""

    def __init__(self, chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._chunks = chunks
        self._loop = loop
        self._rest = bytearray()
        self._ended = False
        self._abandoned = False
        self._awaited: Future[bytes | None] | None = None

    def read(self, size: int, /) -> bytes:
        while len(self._rest) < size and not self._ended:
            self._awaited = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            if self._abandoned:  # looked at after the line above: `abandon` does the two in the other order
                self._awaited.cancel()
            chunk = self._awaited.result()
            if chunk is None:
                self._ended = True
            else:
                self._rest += chunk
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

    def abandon(self) -> None:
        """Make a thread that still reads give up, after its caller was cancelled."""
        self._abandoned = True
        if self._awaited is not None:
            self._awaited.cancel()

    async def _next(self) -> bytes | None:
        return await anext(self._chunks, None)


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING_CODES:
            raise ObjectMissingError(key) from None
        if error.code in _BUSY_CODES or error.response.status >= 500:
            raise StoreUnavailableError(error.code) from error
        raise StoreError(error.code) from error
    except (urllib3.exceptions.HTTPError, ServerError, InvalidResponseError) as error:
        raise StoreUnavailableError(type(error).__name__) from error
    except MinioException as error:
        raise StoreError(type(error).__name__) from error
