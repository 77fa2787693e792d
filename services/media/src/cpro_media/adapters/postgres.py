"""The images' rows, and the notes of objects to remove, in the service's own database."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, LiteralString

from psycopg.rows import dict_row

from cpro_media.domain.images import ImageKind, StoredImage, StoredPicture
from cpro_platform.database import Connection, Database

_FIND = "SELECT * FROM image WHERE uai = %s AND kind = %s"
# Also when there is no row to lock yet, so that two first uploads follow one another.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_SAVE = """
INSERT INTO image (
    uai, kind, changed_at, changed_by, key, sha256, content_type, bytes, width, height,
    thumbnail_key, thumbnail_sha256, thumbnail_content_type, thumbnail_bytes, thumbnail_width, thumbnail_height
) VALUES (
    %(uai)s, %(kind)s, %(changed_at)s, %(changed_by)s, %(key)s, %(sha256)s, %(content_type)s, %(bytes)s, %(width)s,
    %(height)s, %(thumbnail_key)s, %(thumbnail_sha256)s, %(thumbnail_content_type)s, %(thumbnail_bytes)s,
    %(thumbnail_width)s, %(thumbnail_height)s
)
"""
_DELETE = "DELETE FROM image WHERE uai = %s AND kind = %s"
_INTEND = """
INSERT INTO object_removal (object_key, due_at) SELECT unnest(%s::text[]), %s
ON CONFLICT (object_key) DO UPDATE SET due_at = excluded.due_at
"""
_FORGET = "DELETE FROM object_removal WHERE object_key = ANY(%s)"
_DUE = """
SELECT object_key FROM object_removal WHERE due_at <= %s ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
"""
_COUNT_DUE = "SELECT count(*) FROM object_removal WHERE due_at <= %s"
# One statement sees one instant: an upload that commits takes its note back and writes its row at once.
_UNKNOWN = """
SELECT listed FROM unnest(%s::text[]) AS listed
WHERE NOT EXISTS (SELECT FROM object_removal WHERE object_key = listed)
  AND NOT EXISTS (SELECT FROM image WHERE key = listed)
  AND NOT EXISTS (SELECT FROM image WHERE thumbnail_key = listed)
"""
_KEYS_AFTER = """
SELECT uai, kind, key, thumbnail_key FROM image WHERE (uai, kind) > (%s, %s) ORDER BY uai, kind LIMIT 500
"""
_REFERS = "SELECT EXISTS (SELECT FROM image WHERE key = %s OR thumbnail_key = %s)"
_PICTURE_COLUMNS = ("key", "sha256", "content_type", "bytes", "width", "height")


class PostgresImagesChange:
    """Implements `ports.ImagesChange`."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx

    async def current(self, uai: str, kind: ImageKind) -> StoredImage | None:
        await self._tx.execute(_LOCK, (f"image/{uai}/{kind}",))
        return await _find(self._tx, uai, kind)

    async def save(self, image: StoredImage) -> None:
        await self.delete(image.uai, image.kind)
        own = {"uai": image.uai, "kind": image.kind, "changed_at": image.changed_at, "changed_by": image.changed_by}
        await self._tx.execute(_SAVE, own | _columns("", image.image) | _columns("thumbnail_", image.thumbnail))

    async def delete(self, uai: str, kind: ImageKind) -> None:
        await self._tx.execute(_DELETE, (uai, kind))

    async def intend_removal(self, keys: Sequence[str], due_at: datetime) -> None:
        await self._tx.execute(_INTEND, (list(keys), due_at))

    async def forget_removal(self, keys: Sequence[str]) -> bool:
        forgotten = await self._tx.execute(_FORGET, (list(keys),))
        return forgotten.rowcount == len(keys)

    async def due_removals(self, at: datetime, limit: int) -> Sequence[str]:
        found = await self._tx.execute(_DUE, (at, limit))
        return [str(key) for (key,) in await found.fetchall()]


class PostgresImages:
    """Implements `ports.Images`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[PostgresImagesChange]:
        async with self._database.begin() as tx:
            yield PostgresImagesChange(tx)

    async def find(self, uai: str, kind: ImageKind) -> StoredImage | None:
        async with self._database.begin() as tx:
            return await _find(tx, uai, kind)

    async def count_due_removals(self, at: datetime) -> int:
        return int((await self._rows(_COUNT_DUE, (at,)))[0][0])

    async def unknown_among(self, keys: Sequence[str]) -> Sequence[str]:
        return [str(key) for (key,) in await self._rows(_UNKNOWN, (list(keys),))]

    async def pages_of_keys(self) -> AsyncIterator[Sequence[str]]:
        last: tuple[object, object] = ("", "")
        while rows := await self._rows(_KEYS_AFTER, last):
            yield [str(key) for row in rows for key in row[2:]]
            last = (rows[-1][0], rows[-1][1])

    async def refers_to(self, key: str) -> bool:
        return bool((await self._rows(_REFERS, (key, key)))[0][0])

    async def _rows(self, query: LiteralString, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        async with self._database.begin() as tx:
            found = await tx.execute(query, parameters)
            return await found.fetchall()


async def _find(tx: Connection, uai: str, kind: ImageKind) -> StoredImage | None:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_FIND, (uai, kind))
        row = await cursor.fetchone()
    if row is None:
        return None
    return StoredImage(uai, kind, _picture("", row), _picture("thumbnail_", row), row["changed_at"], row["changed_by"])


def _picture(prefix: str, row: dict[str, Any]) -> StoredPicture:
    return StoredPicture(**{name: row[prefix + name] for name in _PICTURE_COLUMNS})


def _columns(prefix: str, picture: StoredPicture) -> dict[str, object]:
    return {prefix + name: getattr(picture, name) for name in _PICTURE_COLUMNS}
