"""Receipts in a tenant's database, as a mover writes and reads them.

The database numbers and chains them as they come (`cpro_tenant_db.receipts`): the first receipt of a transaction locks
the chain until the commit. So they are written last, and all of a batch in one statement.
"""

from collections.abc import Mapping
from typing import Any

from cpro_transfer.domain.transfers import Claim
from cpro_transfer.ports.moving import Contents, Landed

LANDED = """
SELECT transfer_id, epoch, tables::text AS tables, origin_opt_in::text AS origin_opt_in,
    destination_opt_in::text AS destination_opt_in, origin_import_id, destination_import_id,
    (SELECT coalesce(sum((said.value ->> 'count')::integer), 0) FROM jsonb_each(tables) said)::integer AS records
FROM transfer_receipt WHERE transfer_id = ANY (%(ids)s) AND direction = 'incoming'
"""
FINISHED = "SELECT transfer_id FROM transfer_receipt WHERE transfer_id = ANY (%(ids)s) AND direction = 'outgoing'"
# JSON comes as lines of one text: PostgreSQL writes a jsonb without any line feed, and an array of texts would have to
# be quoted here and unquoted there, which took longer than all the rest.
WRITE = """
INSERT INTO transfer_receipt (transfer_id, direction, pupil_id, other_uai, epoch, tables, origin_opt_in,
    destination_opt_in, origin_import_id, destination_import_id)
SELECT id, %(direction)s, pupil_id, other_uai, epoch, tables::jsonb, origin_opt_in::jsonb, destination_opt_in::jsonb,
    origin_import_id, destination_import_id
FROM unnest(%(ids)s::uuid[], %(pupils)s::uuid[], %(others)s::text[], %(epochs)s::bigint[],
    string_to_array(%(tables)s, E'\\n'), string_to_array(%(origin_opt_ins)s, E'\\n'),
    string_to_array(%(destination_opt_ins)s, E'\\n'), %(origin_imports)s::uuid[], %(destination_imports)s::uuid[])
    AS said (id, pupil_id, other_uai, epoch, tables, origin_opt_in, destination_opt_in, origin_import_id,
        destination_import_id)
"""


def incoming(landed: Mapping[Claim, Landed]) -> dict[str, object]:
    """The arguments of `WRITE` for the destination."""
    claims = list(landed)
    return _arguments("incoming", landed) | {
        "pupils": [claim.destination_pupil_id for claim in claims],
        "others": [claim.origin_uai for claim in claims],
    }


def outgoing(landed: Mapping[Claim, Landed]) -> dict[str, object]:
    """The arguments of `WRITE` for the origin: its receipt says what the destination's says."""
    claims = list(landed)
    return _arguments("outgoing", landed) | {
        "pupils": [claim.origin_pupil_id for claim in claims],
        "others": [claim.destination_uai for claim in claims],
    }


def landed_of(row: Mapping[str, Any]) -> Landed:
    """A row of `LANDED`."""
    return Landed(
        row["epoch"],
        Contents(row["tables"], row["records"]),
        row["origin_opt_in"],
        row["destination_opt_in"],
        row["origin_import_id"],
        row["destination_import_id"],
    )


def _arguments(direction: str, landed: Mapping[Claim, Landed]) -> dict[str, object]:
    said = list(landed.values())
    return {
        "direction": direction,
        "ids": [claim.id for claim in landed],
        "epochs": [claim.epoch for claim in landed],
        "tables": "\n".join(one.contents.tables for one in said),
        "origin_opt_ins": "\n".join(one.origin_opt_in for one in said),
        "destination_opt_ins": "\n".join(one.destination_opt_in for one in said),
        "origin_imports": [one.origin_import_id for one in said],
        "destination_imports": [one.destination_import_id for one in said],
    }
