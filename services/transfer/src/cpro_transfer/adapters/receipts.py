"""Receipts in a tenant's database, as a mover writes and reads them.

The database numbers and chains them as they come (`cpro_tenant_db.receipts`): the first receipt of a transaction locks
the chain until the commit. So they are written last, and all of a batch in one statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cpro_platform.database import Connection
from cpro_transfer.domain.transfers import Claim
from cpro_transfer.ports import Landed, TableReceipt, Tables

_LANDED = "SELECT transfer_id, epoch, tables FROM transfer_receipt WHERE transfer_id = ANY (%s) AND direction = %s"
_WRITE = """
INSERT INTO transfer_receipt (transfer_id, direction, pupil_id, other_uai, epoch, tables, origin_opt_in,
    destination_opt_in, origin_import_id, destination_import_id)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::text[], %s::bigint[], %s::jsonb[], %s::jsonb[],
    %s::jsonb[], %s::uuid[], %s::uuid[])
"""


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """What a receipt says; the database adds when, its number and its hashes."""

    transfer_id: UUID
    direction: str
    pupil_id: UUID
    other_uai: str
    epoch: int
    tables: Jsonb
    origin_opt_in: Any
    destination_opt_in: Any
    origin_import_id: UUID | None
    destination_import_id: UUID | None

    def row(self) -> tuple[object, ...]:
        """The values in the order of `_WRITE`."""
        return (
            self.transfer_id, self.direction, self.pupil_id, self.other_uai, self.epoch, self.tables,
            Jsonb(self.origin_opt_in), Jsonb(self.destination_opt_in), self.origin_import_id,
            self.destination_import_id,
        )  # fmt: skip


def outgoing(claim: Claim, tables: Tables, incoming: Mapping[str, Any]) -> NewReceipt:
    """The origin's receipt says what the destination's says: both opt-ins, both imports, the same digests."""
    return NewReceipt(
        claim.id, "outgoing", claim.origin_pupil_id, claim.destination_uai, claim.epoch, as_json(tables),
        incoming["origin_opt_in"], incoming["destination_opt_in"], incoming["origin_import_id"],
        incoming["destination_import_id"],
    )  # fmt: skip


async def write(tx: Connection, receipts: Sequence[NewReceipt]) -> None:
    """Write them in this order. From here to the commit no other transfer into or out of this tenant can end."""
    if receipts:
        columns = zip(*(receipt.row() for receipt in receipts), strict=True)
        await tx.execute(_WRITE, [list(column) for column in columns])


async def landed(tx: Connection, transfer_ids: Sequence[UUID], direction: str) -> dict[UUID, Landed]:
    """By transfer, what the receipts of this direction say moved, and under which epoch."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_LANDED, (list(transfer_ids), direction))
        return {row["transfer_id"]: Landed(row["epoch"], _from_json(row["tables"])) for row in await cursor.fetchall()}


def as_json(tables: Tables) -> Jsonb:
    """As the column `tables` has it."""
    return Jsonb(
        {
            name: {"count": receipt.count, "digest": receipt.digest, "ids": [str(row_id) for row_id in receipt.ids]}
            for name, receipt in tables.items()
        }
    )


def _from_json(tables: Mapping[str, Any]) -> Tables:
    return {
        name: TableReceipt(said["count"], said["digest"], tuple(UUID(row_id) for row_id in said["ids"]))
        for name, said in tables.items()
    }
