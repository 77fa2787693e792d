"""The audit trail, in the transfer database. It only grows: a trigger there refuses everything else."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cpro_platform.database import Connection, Database
from cpro_transfer.domain.support import AuditEntry

_ADD = """
INSERT INTO audit_entry (actor, role, action, ticket, transfer_id, subject_id, origin_uai, origin_pupil_id,
    destination_uai, destination_pupil_id, facts)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_COLUMNS = """
SELECT position, occurred_at, actor, role, action, ticket, transfer_id, subject_id, origin_uai, origin_pupil_id,
    destination_uai, destination_pupil_id, facts
FROM audit_entry
"""
# Either side by its own index, newest first.
_OF_ESTABLISHMENT = f"""
SELECT * FROM (
    ({_COLUMNS} WHERE origin_uai = %(uai)s AND position < %(before)s ORDER BY position DESC LIMIT %(limit)s)
    UNION
    ({_COLUMNS} WHERE destination_uai = %(uai)s AND position < %(before)s ORDER BY position DESC LIMIT %(limit)s)
) AS own ORDER BY position DESC LIMIT %(limit)s
"""
# What was done to the transfer, and to the authorisation that it was carried out under.
_OF_TRANSFER = f"""
SELECT * FROM (
    ({_COLUMNS} WHERE transfer_id = %(transfer_id)s AND position < %(before)s ORDER BY position DESC LIMIT %(limit)s)
    UNION
    ({_COLUMNS} WHERE subject_id = (SELECT id FROM transfer_authorisation WHERE transfer_id = %(transfer_id)s LIMIT 1)
        AND position < %(before)s ORDER BY position DESC LIMIT %(limit)s)
) AS own ORDER BY position DESC LIMIT %(limit)s
"""
_OF_ALL = f"{_COLUMNS} WHERE position < %(before)s ORDER BY position DESC LIMIT %(limit)s"
_NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AuditLine:
    """An entry as it was written."""

    position: int
    occurred_at: datetime
    actor: str
    role: str
    action: str
    ticket: str | None
    transfer_id: UUID | None
    subject_id: UUID | None
    origin_uai: str | None
    origin_pupil_id: UUID | None
    destination_uai: str | None
    destination_pupil_id: UUID | None
    facts: dict[str, Any]


class AuditTrail:
    """Adds in the transaction of what is done, so that neither is there without the other; reads page by page."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    async def add(tx: Connection, *entries: AuditEntry) -> None:
        """Write down what the caller's transaction does."""
        async with tx.cursor() as cursor:
            await cursor.executemany(_ADD, [_row(entry) for entry in entries])

    async def page(
        self,
        *,
        uai: str | None = None,
        transfer_id: UUID | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[AuditLine]:
        """Newest first: of one establishment, of one transfer, or of all."""
        query = _OF_ESTABLISHMENT if uai else _OF_TRANSFER if transfer_id else _OF_ALL
        arguments = {"uai": uai, "transfer_id": transfer_id, "before": before or _NEWEST, "limit": limit}
        async with self._database.begin() as tx, tx.cursor(row_factory=class_row(AuditLine)) as cursor:
            await cursor.execute(query, arguments)
            return await cursor.fetchall()


def _row(entry: AuditEntry) -> tuple[object, ...]:
    order = entry.order
    return (
        order.actor, order.role, str(entry.action), order.ticket, entry.transfer_id, entry.subject_id,
        entry.origin_uai, entry.origin_pupil_id, entry.destination_uai, entry.destination_pupil_id,
        Jsonb(entry.facts),
    )  # fmt: skip
