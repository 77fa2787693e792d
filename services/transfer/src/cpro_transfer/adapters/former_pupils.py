"""The pupils who have left and whose records are still here: searched, ordered, a page at a time.

By name the index of inactive pupils gives a page without reading the others. Another order, or a search, reads the
school's inactive pupils once, which a test measures with 5,000 of them.
"""

from uuid import UUID

from psycopg import sql
from psycopg.rows import dict_row

from cpro_contracts.pupils import EnrolmentSource
from cpro_tenant_db.connections import TenantConnections
from cpro_transfer.adapters.plain_names import plain, plain_in_sql
from cpro_transfer.adapters.tenant_pupils import records_of
from cpro_transfer.ports.reading import FormerPupil, PupilOrder

# The manual: "Les élèves listés ci-dessous sont désactivés de votre établissement et leurs données sont
# transférables."
_FORMER = """
SELECT p.id AS pupil_id, p.family_name, p.first_name, p.birth_date, p.division, p.leaving_date, p.source,
    {leading} AS leading
FROM pupil p WHERE NOT p.active AND p.records_moved_at IS NULL AND {searched} AND {after}
ORDER BY {keys} LIMIT %(limit)s
"""
_NAMES = "p.family_name || ' ' || coalesce(p.usage_name, '') || ' ' || p.first_name"
_SEARCHED = f"{plain_in_sql(_NAMES)} LIKE ALL (%(words)s::text[])"
# As texts that compare as the list is ordered: days until the end of the calendar, and what no division begins with.
_LEADING = {
    PupilOrder.NAME: "''",
    PupilOrder.LEAVING_DATE: "lpad((DATE '9999-12-31' - coalesce(p.leaving_date, DATE '0001-01-01'))::text, 8, '0')",
    PupilOrder.DIVISION: "coalesce(p.division, U&'\\FFFF')",
}
_AFTER = "(%(after_leading)s::text, %(after_family)s::text, %(after_first)s::text, %(after_id)s::uuid)"
_AFTER_NAME = "(%(after_family)s::text, %(after_first)s::text, %(after_id)s::uuid)"

Position = tuple[str, str, str, UUID]
"""Of the last pupil of a page: what leads the order, family name, first name, id."""


class FormerPupils:
    """Reads them, for their own administrator."""

    def __init__(self, tenants: TenantConnections) -> None:
        self._tenants = tenants

    async def page(
        self,
        uai: str,
        *,
        order: PupilOrder = PupilOrder.NAME,
        search: str = "",
        after: Position | None = None,
        limit: int,
    ) -> list[FormerPupil]:
        """One page, with how many records of each kind everyone has.

        `search`: words that are all somewhere in the names, whatever the accents and the case.
        """
        leading, family, first, pupil_id = after or ("", "", "", None)
        arguments = {
            "after_leading": leading, "after_family": family, "after_first": first, "after_id": pupil_id,
            "words": [f"%{_escaped(word)}%" for word in plain(search).split()], "limit": limit,
        }  # fmt: skip
        query = _query(order, searched=bool(arguments["words"]), continued=after is not None)
        async with self._tenants.begin(uai) as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, arguments)
            rows = await cursor.fetchall()
            counts = await records_of(tx, [row["pupil_id"] for row in rows])
        return [
            FormerPupil(**row | {"source": EnrolmentSource(row["source"])}, records=counts.get(row["pupil_id"], {}))
            for row in rows
        ]


def _query(order: PupilOrder, *, searched: bool, continued: bool) -> sql.Composed:
    """Only with what is asked for: a condition that is always true would keep the index out of use."""
    by_name = order is PupilOrder.NAME
    keys = "p.family_name, p.first_name, p.id" if by_name else f"{_LEADING[order]}, p.family_name, p.first_name, p.id"
    after = f"({keys}) > {_AFTER_NAME if by_name else _AFTER}" if continued else "true"
    return sql.SQL(_FORMER).format(
        leading=sql.SQL(_LEADING[order]),
        searched=sql.SQL(_SEARCHED if searched else "true"),
        after=sql.SQL(after),
        keys=sql.SQL(keys),
    )


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
