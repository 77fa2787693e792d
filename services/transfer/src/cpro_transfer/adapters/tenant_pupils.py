"""What the API reads of an establishment's own database: its pupils' names and its receipts."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row, dict_row

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_tenant_db.catalogue import CATALOGUE, owner_of_row, rows_of_pupils
from cpro_tenant_db.connections import TenantConnections
from cpro_transfer.domain.explanation import OwnPupil
from cpro_transfer.ports import FormerPupil, PupilName, Receipt

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
# The manual: "Les élèves listés ci-dessous sont désactivés de votre établissement et leurs données sont
# transférables."
_FORMER = """
SELECT p.id AS pupil_id, p.family_name, p.first_name, p.birth_date, p.division, p.leaving_date, p.source
FROM pupil p
WHERE NOT p.active AND p.records_moved_at IS NULL
    AND (%(after_id)s::uuid IS NULL
        OR (p.family_name, p.first_name, p.id) > (%(after_family)s, %(after_first)s, %(after_id)s))
ORDER BY p.family_name, p.first_name, p.id LIMIT %(limit)s
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

    async def former_pupils(self, uai: str, *, after: tuple[str, str, UUID] | None, limit: int) -> list[FormerPupil]:
        """One page of the deactivated pupils whose records are still here, by name, with how many of each kind."""
        family, first, pupil_id = after or ("", "", None)
        position = {"after_family": family, "after_first": first, "after_id": pupil_id}
        async with self._tenants.begin(uai) as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_FORMER, position | {"limit": limit})
            rows = await cursor.fetchall()
            await cursor.execute(_counts(), {"pupil_ids": [row["pupil_id"] for row in rows]})
            counts: dict[UUID, dict[str, int]] = {}
            for counted in await cursor.fetchall():
                counts.setdefault(counted["pupil_id"], {})[counted["kind"]] = counted["number"]
        return [
            FormerPupil(**row | {"source": EnrolmentSource(row["source"])}, records=counts.get(row["pupil_id"], {}))
            for row in rows
        ]


def _counts() -> sql.Composed:
    return sql.SQL(" UNION ALL ").join(
        sql.SQL("""
        SELECT {kind} AS kind, {owner} AS pupil_id, count(*) AS number
        {rows} WHERE {owner} = ANY (%(pupil_ids)s) GROUP BY 2
        """).format(kind=sql.Literal(table.name), owner=owner_of_row(table), rows=rows_of_pupils(table))
        for table in CATALOGUE
    )
