"""What the two establishments' databases say of a transfer that is to be undone.

The digest in the destination's receipt decides whether its rows are as they came. The receipt was written by the
transaction that brought them, so the row version of each says whether it was written again since: that names the rows,
and decides nothing.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from cpro_contracts.transfers import Reason
from cpro_platform.database import Connection
from cpro_tenant_db.catalogue import BY_NAME, CATALOGUE, owner_of_row, rows_of_pupils
from cpro_tenant_db.connections import TenantConnections
from cpro_transfer.adapters import record_sql
from cpro_transfer.adapters.statements import LIVE, Row, columns_of, together
from cpro_transfer.domain.transfers import Claim
from cpro_transfer.domain.undoing import Change, Finding, Passage, Refusal, Touched, has_moved_on, judge, undo_id_of
from cpro_transfer.errors import TenantInTroubleError
from cpro_transfer.ports.moving import Contents

_RECEIVED = """
SELECT tables::text AS tables FROM transfer_receipt
WHERE transfer_id = ANY (%(undone)s) AND direction = 'incoming' AND pupil_id = ANY (%(pupils)s)
    AND other_uai = %(other_uai)s
"""
_SINCE = """
SELECT later.transfer_id, later.direction = 'outgoing' AS outgoing
FROM transfer_receipt came
JOIN transfer_receipt later ON later.pupil_id = came.pupil_id AND later.sequence > came.sequence
WHERE came.transfer_id = ANY (%(undone)s) AND came.direction = 'incoming'
"""
_DEPARTED = """
SELECT tables::text AS tables,
    (SELECT coalesce(sum((said.value ->> 'count')::integer), 0) FROM jsonb_each(tables) said)::integer AS records
FROM transfer_receipt
WHERE transfer_id = %(id)s AND direction = 'outgoing' AND pupil_id = %(pupil)s AND other_uai = %(other_uai)s
"""
# A record table takes no row for a pupil whose records have moved away: these come home.
_LOCK = "SELECT 1 FROM pupil WHERE id = ANY (%(arrivals)s) ORDER BY id FOR NO KEY UPDATE"
_MAKE_ROOM = """
UPDATE pupil SET records_moved_at = NULL, records_moved_to = NULL, updated_at = now()
WHERE id = ANY (%(arrivals)s) AND records_moved_at IS NOT NULL
"""
# By one column: that is how record tables refer to each other.
_REFERENCES = """
SELECT child.relname AS child, a.attname AS child_column, parent.relname AS parent
FROM pg_constraint c
JOIN pg_class child ON child.oid = c.conrelid
JOIN pg_class parent ON parent.oid = c.confrelid
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND child.relname = ANY (%(tables)s) AND parent.relname = ANY (%(tables)s)
ORDER BY 1, 2
"""
_CATALOGUE = {"tables": [table.name for table in CATALOGUE]}


async def unfit(tx: Connection, claims: Sequence[Claim]) -> dict[UUID, Reason]:
    """Of the claims that undo a transfer, those that can't be: at their origin, once its pupils are locked."""
    found: dict[UUID, Reason] = {}
    for claim in claims:
        if claim.undoes:
            finding = await look(tx, claim.undoes, claim.origin_pupil_id, claim.destination_uai)
            if finding.refusal:
                missing = finding.refusal is Refusal.RECEIPT_MISSING
                found[claim.id] = Reason.LANDING_LOST if missing else Reason.RECORDS_EDITED
    return found


async def make_room(destination: Connection, claims: Sequence[Claim]) -> None:
    """Where records come home, their pupils' records have no longer moved away."""
    if any(claim.undoes for claim in claims):
        arrivals = {"arrivals": [claim.destination_pupil_id for claim in claims]}
        await together(destination, (_LOCK, arrivals), (_MAKE_ROOM, arrivals))


async def departed(destination: Connection, claims: Sequence[Claim]) -> dict[UUID, Contents | None]:
    """What once left where the records now come home, by the receipt that was written then; None without one."""
    found: dict[UUID, Contents | None] = {}
    for claim in claims:
        if claim.undoes:
            asked = {"id": claim.undoes, "pupil": claim.destination_pupil_id, "other_uai": claim.origin_uai}
            (rows,) = await together(destination, (_DEPARTED, asked))
            found[claim.id] = Contents(rows[0]["tables"], rows[0]["records"]) if rows else None
    return found


async def look(tx: Connection, transfer_id: UUID, pupil_id: UUID, other_uai: str) -> Finding:
    """Whether the rows that came by this transfer are all here, as they came, with nothing added to them."""
    asked = {"undone": [transfer_id], "pupils": [pupil_id], "other_uai": other_uai}
    received, since, live, references = await together(
        tx, (_RECEIVED, asked), (_SINCE, asked), LIVE, (_REFERENCES, _CATALOGUE)
    )
    moved_on = has_moved_on([Passage(**row) for row in since], undo=undo_id_of(transfer_id))
    touched: list[Touched] = []
    if received and not moved_on:
        came = json.loads(received[0]["tables"])
        (rows,) = await together(tx, (record_sql.contents(columns_of(live), only_received=True), asked))
        here = json.loads(rows[0]["tables"]) if rows else {}
        for table in sorted(came):
            if here.get(table) != came[table]:
                touched += await _changed(tx, table, came[table]["ids"], asked)
        touched += await _added(tx, references, asked)
    return judge(received=bool(received), moved_on=moved_on, touched=touched)


async def _changed(tx: Connection, table: str, came: Sequence[str], asked: Mapping[str, Any]) -> list[Touched]:
    (rows,) = await together(tx, (_versions(table), asked))
    here = {row["id"]: row["rewritten"] for row in rows}
    gone = [Touched(table, row_id, Change.DELETED) for row_id in map(UUID, came) if row_id not in here]
    edited = [Touched(table, row_id, Change.EDITED) for row_id, rewritten in here.items() if rewritten]
    return gone + edited or [Touched(table, row_id, Change.DIFFERS) for row_id in here]


async def _added(tx: Connection, references: Sequence[Row], asked: Mapping[str, Any]) -> list[Touched]:
    """Rows that came by no such transfer and refer to rows that did: without those they can't stay, nor go along."""
    found: set[Touched] = set()
    for reference in references:
        (rows,) = await together(tx, (_hanging(**reference), asked))
        found |= {Touched(reference["child"], row["id"], Change.ADDED) for row in rows}
    return list(found)


@cache
def _versions(table: str) -> str:
    """The received rows of a table that still belong to the pupil: whether each was written again since it came."""
    return (
        sql.SQL("""
        SELECT t.id, t.xmin <> (
            SELECT r.xmin FROM transfer_receipt r WHERE r.transfer_id = ANY (%(undone)s) AND r.direction = 'incoming'
        ) AS rewritten
        {rows} WHERE {owner} = ANY (%(pupils)s) AND {received}
        """)
        .format(
            rows=rows_of_pupils(BY_NAME[table]),
            owner=owner_of_row(BY_NAME[table]),
            received=record_sql.received(table, "t.id"),
        )
        .as_string()
    )


@cache
def _hanging(child: str, child_column: str, parent: str) -> str:
    return (
        sql.SQL("SELECT t.id FROM {child} t WHERE {of_received} AND NOT ({received})")
        .format(
            child=sql.Identifier(child),
            of_received=record_sql.received(parent, f"t.{child_column}"),
            received=record_sql.received(child, "t.id"),
        )
        .as_string()
    )


class TenantUndoTruth:
    """Asks an establishment's database, for support, before anything is planned. The mover asks again, under lock."""

    def __init__(self, tenants: TenantConnections) -> None:
        self._tenants = tenants

    async def look(self, uai: str, transfer_id: UUID, pupil_id: UUID, other_uai: str) -> Finding:
        """Whether the rows that came to `uai` by this transfer could go back now."""
        settings = {"claim_id": "", "idle_ms": "10000", "lock_ms": "5000"}
        try:
            async with self._tenants.begin(uai) as tx:
                await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                await tx.execute(record_sql.PIN_SESSION, settings)
                return await look(tx, transfer_id, pupil_id, other_uai)
        except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as behind:
            raise TenantInTroubleError(f"{uai}: its schema is behind") from behind
