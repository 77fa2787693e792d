"""The record catalogue: what moves with a pupil. A table that hangs from `pupil` and is not named here stops moves.

The record tables belong to the CPro core application; this system only moves them. Adding one is one line in
`CATALOGUE`, and one call of `guard_record_table` in a migration.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from cpro_platform.database import Connection


@dataclass(frozen=True, slots=True)
class RecordTable:
    """A table of records. Its key is `id`; `parent_column` leads to `pupil`, or to the record table it is a part of.

    `rewritten` names columns that change with the place (an object's key): they move, and no digest covers them.
    """

    name: str
    parent: str = "pupil"
    parent_column: str = "pupil_id"
    rewritten: frozenset[str] = field(default_factory=frozenset)


CATALOGUE: tuple[RecordTable, ...] = (
    # Parents before their parts: rows are inserted in this order and deleted in the reverse one.
    RecordTable("report"),
    RecordTable("activity_sheet"),
    RecordTable("assessment"),
    RecordTable("professional_passport"),
    RecordTable("passport_entry", parent="professional_passport", parent_column="passport_id"),
    RecordTable("attachment", rewritten=frozenset({"object_key"})),
)
BY_NAME: Mapping[str, RecordTable] = {table.name: table for table in CATALOGUE}

STAYS = frozenset({"pupil_ine_alias", "transfer_hold", "transfer_receipt", "siecle_import_change"})
"""What hangs from `pupil` and belongs to the establishment, not to the pupil's work."""


@dataclass(frozen=True, slots=True)
class CatalogueGap:
    """A table that would lose rows, or let them change, in a move."""

    table: str
    problem: str

    def __str__(self) -> str:
        return f"{self.table}: {self.problem}"


# Tables of any schema: the core application may keep some beside ours. A partition goes with its table.
LINKS = """
SELECT child.oid::regclass::text, c.confrelid::regclass::text
FROM pg_constraint c
JOIN pg_class child ON child.oid = c.conrelid
WHERE c.contype = 'f' AND child.relpersistence <> 't' AND NOT child.relispartition
UNION
SELECT c.oid::regclass::text, 'pupil'
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attname = 'pupil_id' AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
    AND c.relpersistence <> 't' AND NOT c.relispartition
"""
GUARDED = """
SELECT t.tgrelid::regclass::text FROM pg_trigger t
WHERE t.tgname LIKE 'transfer_guard_%' AND t.tgenabled IN ('O', 'A')
GROUP BY t.tgrelid HAVING count(*) = 4
"""


async def gaps(tx: Connection) -> tuple[CatalogueGap, ...]:
    """What keeps this database from being moved out of or into: none when the catalogue covers it.

    Follows the live foreign keys from `pupil`, and columns named `pupil_id` that have no foreign key.
    """
    links = await (await tx.execute(LINKS)).fetchall()
    guarded = await (await tx.execute(GUARDED)).fetchall()
    return gaps_in(links, guarded)


def gaps_in(links: Iterable[tuple[Any, ...]], guarded: Iterable[tuple[Any, ...]]) -> tuple[CatalogueGap, ...]:
    """The same, of what `LINKS` and `GUARDED` have found: for a caller who sends them together with others."""
    covered = {row[0] for row in guarded}
    found = [CatalogueGap(name, "hangs from pupil and is not in the catalogue") for name in _uncovered(list(links))]
    found += [CatalogueGap(table.name, "has no transfer guard") for table in CATALOGUE if table.name not in covered]
    return tuple(found)


def _uncovered(links: list[tuple[Any, ...]]) -> list[str]:
    reached = {"pupil"}
    while more := {child for child, parent in links if parent in reached} - reached - STAYS:
        reached |= more
    return sorted(reached - {"pupil"} - BY_NAME.keys())


def rows_of_pupils(table: RecordTable) -> sql.Composed:
    """`FROM` clause of the table as `t`, joined up to the record table that has the `pupil_id`."""
    clause = sql.SQL("FROM {} t").format(sql.Identifier(table.name))
    alias, current = "t", table
    while current.parent != "pupil":
        parent_alias = f"{alias}p"
        clause += sql.SQL(" JOIN {} {} ON {}.id = {}.{}").format(
            sql.Identifier(current.parent),
            sql.Identifier(parent_alias),
            sql.Identifier(parent_alias),
            sql.Identifier(alias),
            sql.Identifier(current.parent_column),
        )
        alias, current = parent_alias, BY_NAME[current.parent]
    return clause


def owner_of_row(table: RecordTable) -> sql.Composed:
    """The expression for the pupil's id in `rows_of_pupils(table)`."""
    alias, current = "t", table
    while current.parent != "pupil":
        alias, current = f"{alias}p", BY_NAME[current.parent]
    return sql.SQL("{}.{}").format(sql.Identifier(alias), sql.Identifier(current.parent_column))
