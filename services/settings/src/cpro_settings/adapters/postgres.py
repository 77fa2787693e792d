"""The sheets in the service's own database."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncCursor, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cpro_contracts.envelope import Event
from cpro_platform import outbox
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_settings.domain.sheet import FIELD_RULES, Change, Sheet, StoredSheet

SOURCE = "/services/settings"

_FIELDS = sql.SQL(", ").join(map(sql.Identifier, FIELD_RULES))
_FIND = sql.SQL("SELECT version, changed_at, changed_by, {fields} FROM establishment_sheet WHERE uai = %s").format(
    fields=_FIELDS
)
# The row is there before it is locked, so that two first saves wait for each other as any others do.
_MAKE = "INSERT INTO establishment_sheet (uai) VALUES (%s) ON CONFLICT DO NOTHING"
_FIND_LOCKED = _FIND + sql.SQL(" FOR UPDATE")
_SAVE = sql.SQL(
    "UPDATE establishment_sheet SET version = %(version)s, changed_at = %(changed_at)s, changed_by = %(changed_by)s, "
    "{assignments} WHERE uai = %(uai)s"
).format(
    assignments=sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in FIELD_RULES
    )
)
_ADD_HISTORY = """
INSERT INTO establishment_sheet_history (uai, version, changed_at, changed_by, fields) VALUES (%s, %s, %s, %s, %s)
"""
_HISTORY = """
SELECT version, changed_at, changed_by, fields FROM establishment_sheet_history
WHERE uai = %(uai)s AND (%(before)s::bigint IS NULL OR version < %(before)s) ORDER BY version DESC LIMIT %(limit)s
"""
_SINCE = """
SELECT version, changed_at, changed_by, fields FROM establishment_sheet_history
WHERE uai = %s AND version > %s ORDER BY version
"""


class PostgresSheetChange:
    """Implements `ports.SheetChange`."""

    def __init__(self, tx: Connection, current: StoredSheet, clock: Clock) -> None:
        self.current = current
        self._tx = tx
        self._clock = clock

    async def since(self, version: int) -> Sequence[Change]:
        return await _changes(await self._tx.execute(_SINCE, (self.current.uai, version)))

    async def save(self, stored: StoredSheet, fields: Mapping[str, tuple[str | None, str | None]]) -> None:
        values = {
            "uai": stored.uai, "version": stored.version, "changed_at": stored.changed_at,
            "changed_by": stored.changed_by,
        }  # fmt: skip
        await self._tx.execute(_SAVE, values | stored.sheet.values())
        entry = (stored.uai, stored.version, stored.changed_at, stored.changed_by, Jsonb(dict(fields)))
        await self._tx.execute(_ADD_HISTORY, entry)

    async def publish(self, event: Event) -> None:
        await outbox.add(self._tx, [event], source=SOURCE, clock=self._clock)


class PostgresSheets:
    """Implements `ports.Sheets`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def find(self, uai: str) -> StoredSheet:
        async with self._database.begin() as tx:
            return await _read(tx, _FIND, uai)

    @asynccontextmanager
    async def changing(self, uai: str) -> AsyncIterator[PostgresSheetChange]:
        async with self._database.begin() as tx:
            await tx.execute(_MAKE, (uai,))
            yield PostgresSheetChange(tx, await _read(tx, _FIND_LOCKED, uai), self._clock)

    async def history(self, uai: str, *, before_version: int | None, limit: int) -> Sequence[Change]:
        async with self._database.begin() as tx:
            return await _changes(await tx.execute(_HISTORY, {"uai": uai, "before": before_version, "limit": limit}))


async def _changes(found: AsyncCursor[Any]) -> list[Change]:
    return [
        Change(version, changed_at, changed_by, {name: (old, new) for name, (old, new) in fields.items()})
        for version, changed_at, changed_by, fields in await found.fetchall()
    ]


async def _read(tx: Connection, query: sql.Composed, uai: str) -> StoredSheet:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, (uai,))
        row: dict[str, Any] | None = await cursor.fetchone()
    if row is None:
        return StoredSheet(uai, Sheet())
    sheet = Sheet(**{name: row[name] for name in FIELD_RULES})
    return StoredSheet(uai, sheet, row["version"], row["changed_at"], row["changed_by"])
