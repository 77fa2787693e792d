"""Everything that a mover could change at two schools, version by version: equal before and after, nothing was written."""

from dataclasses import dataclass

import psycopg

from cpro_platform.object_store import ObjectStore
from cpro_test_support.schools import School

_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Row versions by school and table, and objects with their ETags."""

    rows: frozenset[tuple[str, str, str, str, str]]
    """UAI, table, place (ctid), the transaction that wrote it (xmin), content: a version of a row."""
    objects: frozenset[tuple[str, str]]

    def changes(self, later: "Snapshot") -> list[str]:
        """What is not as it was, one line each."""
        rows = [f"- {version}" for version in sorted(self.rows - later.rows)]
        rows += [f"+ {version}" for version in sorted(later.rows - self.rows)]
        objects = [f"- object {key}" for key, _ in sorted(self.objects - later.objects)]
        return [*rows, *objects, *(f"+ object {key}" for key, _ in sorted(later.objects - self.objects))]


async def snapshot(schools: list[School], store: ObjectStore) -> Snapshot:
    """All tables of these schools' databases, and all objects of theirs."""
    conninfos = await schools[0].world.conninfos()
    rows: set[tuple[str, str, str, str, str]] = set()
    objects: set[tuple[str, str]] = set()
    for school in schools:
        async with await psycopg.AsyncConnection.connect(conninfos[school.uai], autocommit=True) as connection:
            for (table,) in await (await connection.execute(_TABLES)).fetchall():
                query = psycopg.sql.SQL("SELECT ctid::text, xmin::text, t::text FROM {} t").format(
                    psycopg.sql.Identifier(table)
                )
                rows |= {(school.uai, table, *row) for row in await (await connection.execute(query)).fetchall()}
        objects |= {(entry.key, entry.etag) for entry in await store.list(f"tenants/{school.uai}/")}
    return Snapshot(frozenset(rows), frozenset(objects))
