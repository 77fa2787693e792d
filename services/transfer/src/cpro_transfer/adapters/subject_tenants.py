"""What an establishment's database and the store hold of a pupil, and how it goes.

The pupil's row is locked before the hold is looked for, as whoever writes records does: a mover is either seen here, or
finds no pupil any more.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg import sql

from cpro_platform import crash_points
from cpro_platform.database import Connection
from cpro_platform.object_store import ObjectStore
from cpro_tenant_db.catalogue import CATALOGUE, owner_of_row, rows_of_pupils
from cpro_tenant_db.connections import TenantConnections
from cpro_transfer.domain.subjects import Place
from cpro_transfer.errors import TransferUnderWayError

_PUPIL = "(SELECT siecle_id, ine, family_name, first_name FROM pupil WHERE id = %(pupil)s) AS p"
# A remark on a line that became no pupil has no id of one: by the numbers, else by both names.
_OF_PUPIL = {
    "pupil": "FROM pupil t WHERE t.id = %(pupil)s",
    "pupil_ine_alias": "FROM pupil_ine_alias t WHERE t.pupil_id = %(pupil)s",
    "siecle_import_change": f"""FROM siecle_import_change t WHERE t.pupil_id = %(pupil)s
        OR t.pupil_id IS NULL AND EXISTS (SELECT 1 FROM {_PUPIL} WHERE p.siecle_id = t.siecle_id)""",
    "siecle_import_finding": f"""FROM siecle_import_finding t WHERE EXISTS (SELECT 1 FROM {_PUPIL}
        WHERE p.siecle_id = t.siecle_id OR p.ine = t.ine
            OR (t.siecle_id IS NULL AND t.ine IS NULL AND t.family_name = p.family_name
                AND t.first_name = p.first_name))""",
    "outbox": "FROM outbox t WHERE t.payload ->> 'pupil_id' = %(text)s",
}
_KEPT = {"transfer_receipt": "FROM transfer_receipt t WHERE t.pupil_id = %(pupil)s"}
_HOLD = {"transfer_hold": "FROM transfer_hold t WHERE t.pupil_id = %(pupil)s"}
# What goes last has what the others are found by.
_GOING = ("siecle_import_finding", "siecle_import_change", "pupil_ine_alias", "outbox", "pupil")
_LOCK = "SELECT 1 FROM pupil WHERE id = %(pupil)s FOR UPDATE"
_HELD = "SELECT 1 FROM transfer_hold WHERE pupil_id = %(pupil)s"
_NOTE_FILES = """
INSERT INTO transfer_object_removal (object_key, transfer_id)
SELECT object_key, %(erasure)s FROM attachment WHERE pupil_id = %(pupil)s ON CONFLICT DO NOTHING
"""
_NOTED = "SELECT object_key FROM transfer_object_removal WHERE transfer_id = %(erasure)s"
_FORGET_NOTES = "DELETE FROM transfer_object_removal WHERE transfer_id = %(erasure)s"


class TenantSubjects:
    """Implements `ports.SubjectTenants`."""

    def __init__(self, tenants: TenantConnections, store: ObjectStore) -> None:
        self._tenants = tenants
        self._store = store

    async def counts(self, place: Place) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Rows by table: what goes, and what stays."""
        async with self._tenants.begin(place.uai) as tx:
            return await _counted(tx, _taken(), place), await _counted(tx, _plain(_KEPT), place)

    async def contents(self, place: Place) -> dict[str, list[dict[str, Any]]]:
        """Every row, by table, as JSON. Files by reference: their key, size and SHA-256 are in the row."""
        found = {}
        async with self._tenants.begin(place.uai) as tx:
            for table, rows in (_taken() | _plain(_KEPT) | _plain(_HOLD)).items():
                told = await tx.execute(sql.SQL("SELECT to_jsonb(t) {}").format(rows), _arguments(place))
                found[table] = [row[0] for row in await told.fetchall()]
        return {table: rows for table, rows in found.items() if rows}

    async def erase(self, place: Place, erasure_id: UUID) -> None:
        """Delete the rows, noting the files in the same transaction; then the files, then the notes."""
        arguments = _arguments(place) | {"erasure": erasure_id}
        async with self._tenants.begin(place.uai) as tx:
            await tx.execute(_LOCK, arguments)
            if await (await tx.execute(_HELD, arguments)).fetchone():
                raise TransferUnderWayError
            await tx.execute(_NOTE_FILES, arguments)
            for statement in _deletions():
                await tx.execute(statement, arguments)
        crash_points.reach("erasure.rows_erased")
        async with self._tenants.begin(place.uai) as tx:
            keys = [row[0] for row in await (await tx.execute(_NOTED, arguments)).fetchall()]
        if keys:
            await self._store.remove_many(keys)
            crash_points.reach("erasure.files_erased")
            async with self._tenants.begin(place.uai) as tx:
                await tx.execute(_FORGET_NOTES, arguments)


def _plain(tables: Mapping[str, str]) -> dict[str, sql.Composed]:
    return {table: sql.SQL(rows).format() for table, rows in tables.items()}


def _taken() -> dict[str, sql.Composed]:
    """By table, the FROM clause of the pupil's rows as `t`: records, and what belongs to the establishment."""
    records: dict[str, sql.Composed] = {
        table.name: sql.SQL("{} WHERE {} = %(pupil)s").format(rows_of_pupils(table), owner_of_row(table))
        for table in CATALOGUE
    }
    return records | _plain(_OF_PUPIL)


def _deletions() -> list[sql.Composed]:
    records = [
        sql.SQL("DELETE FROM {table} WHERE id IN (SELECT t.id {rows})").format(
            table=sql.Identifier(table.name), rows=_taken()[table.name]
        )
        for table in reversed(CATALOGUE)
    ]
    return records + [sql.SQL("DELETE {}").format(_taken()[table]) for table in _GOING]


async def _counted(tx: Connection, tables: Mapping[str, sql.Composed], place: Place) -> dict[str, int]:
    found = {}
    for table, rows in tables.items():
        counted = await tx.execute(sql.SQL("SELECT count(*) {}").format(rows), _arguments(place))
        row = await counted.fetchone()
        found[table] = row[0] if row else 0
    return {table: number for table, number in found.items() if number}


def _arguments(place: Place) -> dict[str, Any]:
    return {"pupil": place.pupil_id, "text": str(place.pupil_id)}
