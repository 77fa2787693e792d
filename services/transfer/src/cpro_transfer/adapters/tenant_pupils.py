"""What the API reads of an establishment's own database: its pupils' names and its receipts."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row, dict_row

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_platform.database import Connection
from cpro_tenant_db.catalogue import CATALOGUE, owner_of_row, rows_of_pupils
from cpro_tenant_db.connections import TenantConnections
from cpro_transfer.domain.explanation import OwnPupil
from cpro_transfer.ports.reading import PupilName, Receipt

_NAMES = "SELECT id AS pupil_id, family_name, first_name FROM pupil WHERE id = ANY (%s)"
_OWN = """
SELECT p.active, p.source, p.ine_status, p.revision, p.state_changed_at, p.records_moved_at, o.enabled AS opted_in
FROM pupil p, transfer_opt_in o WHERE p.id = %s
"""
# The chain by name, for a tenant that is not migrated yet has none (schema 0002).
_RECEIPT = """
SELECT transfer_id, direction, pupil_id, other_uai, tables, origin_opt_in, destination_opt_in, origin_import_id,
    destination_import_id, written_at, (to_jsonb(r) ->> 'sequence')::bigint AS sequence,
    to_jsonb(r) ->> 'previous_hash' AS previous_hash, to_jsonb(r) ->> 'hash' AS hash
FROM transfer_receipt r WHERE transfer_id = %s AND direction = %s
"""


class TenantPupils:
    """Reads one establishment's pupils, for its own administrator."""

    def __init__(self, tenants: TenantConnections) -> None:
        self._tenants = tenants

    async def names(self, uai: str, pupil_ids: Sequence[UUID]) -> dict[UUID, PupilName]:
        """The names of these pupils, as this establishment writes them."""
        async with self._tenants.begin(uai) as tx, tx.cursor(row_factory=class_row(PupilName)) as cursor:
            await cursor.execute(_NAMES, (list(pupil_ids),))
            return {name.pupil_id: name for name in await cursor.fetchall()}

    async def own(self, uai: str, pupil_id: UUID) -> OwnPupil | None:
        """The pupil as this establishment has them; None if it has no such pupil."""
        async with self._tenants.begin(uai) as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_OWN, (pupil_id,))
            row = await cursor.fetchone()
        if row is None:
            return None
        source, ine_status = EnrolmentSource(row["source"]), IneStatus(row["ine_status"])
        return OwnPupil(**row | {"source": source, "ine_status": ine_status})

    async def receipt(self, uai: str, transfer_id: UUID, direction: str) -> Receipt | None:
        """This establishment's receipt of a transfer: what left, or what arrived."""
        async with self._tenants.begin(uai) as tx, tx.cursor(row_factory=class_row(Receipt)) as cursor:
            await cursor.execute(_RECEIPT, (transfer_id, direction))
            return await cursor.fetchone()


async def records_of(tx: Connection, pupil_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """How many records of each kind each of these pupils has; kinds with none are left out."""
    counts: dict[UUID, dict[str, int]] = {}
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_counts(), {"pupil_ids": list(pupil_ids)})
        for counted in await cursor.fetchall():
            counts.setdefault(counted["pupil_id"], {})[counted["kind"]] = counted["number"]
    return counts


def _counts() -> sql.Composed:
    return sql.SQL(" UNION ALL ").join(
        sql.SQL("""
        SELECT {kind} AS kind, {owner} AS pupil_id, count(*) AS number
        {rows} WHERE {owner} = ANY (%(pupil_ids)s) GROUP BY 2
        """).format(kind=sql.Literal(table.name), owner=owner_of_row(table), rows=rows_of_pupils(table))
        for table in CATALOGUE
    )
