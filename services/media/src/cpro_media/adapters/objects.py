"""The images' objects in the bucket."""

from collections.abc import AsyncIterator, Sequence

from cpro_media.ports import ObjectGoneError
from cpro_platform.object_store import ObjectMissingError, ObjectStore


class BucketObjects:
    """Implements `ports.Objects`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        await self._store.put(key, data, content_type=content_type)

    async def get(self, key: str) -> bytes:
        try:
            return await self._store.get(key)
        except ObjectMissingError as error:
            raise ObjectGoneError(key) from error

    async def exists(self, key: str) -> bool:
        try:
            await self._store.stat(key)
        except ObjectMissingError:
            return False
        return True

    async def pages(self) -> AsyncIterator[Sequence[str]]:
        async for page in self._store.pages():
            yield [entry.key for entry in page]

    async def remove_many(self, keys: Sequence[str]) -> None:
        await self._store.remove_many(keys)
