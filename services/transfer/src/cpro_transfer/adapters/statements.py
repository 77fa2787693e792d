"""Statements sent together, and the columns of the record tables as they are now."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.rows import dict_row

from cpro_platform.database import Connection
from cpro_tenant_db.catalogue import CATALOGUE
from cpro_transfer.adapters import record_sql
from cpro_transfer.adapters.record_sql import Columns

Row = dict[str, Any]
Statement = tuple[Any, Mapping[str, object] | None]

LIVE: Statement = (record_sql.LIVE_COLUMNS, {"tables": [table.name for table in CATALOGUE]})


def columns_of(found: Sequence[Row]) -> Columns:
    """What `LIVE` has found."""
    return tuple((row["relname"], row["attname"], row["type"]) for row in found)


async def together(tx: Connection, *statements: Statement) -> list[list[Row]]:
    """Send statements without waiting for one before the next: two ways there and back. Returns the rows of each.

    The last goes alone. psycopg ends a pipeline with a Flush after its Sync, and a Flush disarms the server's timer for
    transactions that are idle: a mover that fell asleep after a pipeline would keep its locks for as long as it slept.
    """
    cursors = [tx.cursor(row_factory=dict_row) for _ in statements]
    *others, (last, (query_at_last, arguments_at_last)) = zip(cursors, statements, strict=True)
    if others:
        async with tx.pipeline():
            for cursor, (query, arguments) in others:
                await cursor.execute(query, arguments)
    await last.execute(query_at_last, arguments_at_last)
    return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]
