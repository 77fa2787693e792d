"""What one establishment's database holds of transfers: receipts, holds, fences, and what it said of their pupils."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from cpro_contracts import topics
from cpro_contracts.pupils import PupilDeactivated, PupilWithdrawn
from cpro_platform.database import Connection
from cpro_transfer.domain.transfer_traces import End, HoldSaid, ReceiptSaid, Said, Trace, TracedPupil

_TRACES = """
SELECT transfer_id, direction = 'outgoing' AS outgoing, direction = 'incoming' AS incoming,
    NULL::uuid AS held_pupil_id, other_uai
FROM transfer_receipt
UNION ALL
SELECT transfer_id, false, false, pupil_id, NULL FROM transfer_hold
"""
# Counts only: the ids of the rows are many.
_RECEIPTS = """
SELECT transfer_id, direction, pupil_id, epoch, origin_opt_in, destination_opt_in, written_at, number,
    (SELECT coalesce(jsonb_object_agg(key, value -> 'count'), '{}') FROM jsonb_each(tables)) AS counts
FROM (
    SELECT r.*, row_number() OVER (ORDER BY written_at, transfer_id, direction) AS number FROM transfer_receipt r
) AS numbered
WHERE transfer_id = ANY (%(ids)s)
"""
_HOLDS = "SELECT transfer_id, pupil_id, epoch, opt_in, held_at FROM transfer_hold WHERE transfer_id = ANY (%(ids)s)"
_FENCES = "SELECT transfer_id, epoch FROM transfer_fence WHERE transfer_id = ANY (%(ids)s)"
_PUPILS = """
SELECT p.id, p.match_key, p.revision, p.state_changed_at,
    p.records_moved_at IS NOT NULL AND NOT p.active AS records_moved,
    (SELECT r.transfer_id FROM transfer_receipt r WHERE r.pupil_id = p.id AND r.direction = 'outgoing'
        ORDER BY r.written_at DESC LIMIT 1) AS last_outgoing
FROM pupil p WHERE p.id = ANY (%(ids)s) OR p.match_key = ANY (%(keys)s)
"""
# What was said again is the same event: it counts from when it was said first.
_LOG = """
SELECT payload ->> 'pupil_id' AS pupil_id, key AS match_key, (payload ->> 'revision')::bigint AS revision,
    bool_or(type = %(deactivated)s) AS departure, min(occurred_at) AS time
FROM outbox WHERE topic = %(topic)s AND type <> %(withdrawn)s AND payload ->> 'pupil_id' = ANY (%(pupils)s)
GROUP BY 1, 2, 3
"""


async def traces(tx: Connection) -> dict[UUID, Trace]:
    """The receipts and holds that are there, by transfer."""
    async with tx.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(_TRACES)).fetchall()
    return {row["transfer_id"]: Trace(**row) for row in rows}


async def ends(tx: Connection, transfer_ids: Collection[UUID], match_keys: Mapping[UUID, str]) -> dict[UUID, End]:
    """All that is there of these transfers. Of those in `match_keys` the pupil is also found by the key."""
    arguments = {"ids": list(transfer_ids)}
    said: dict[UUID, dict[str, Any]] = {transfer_id: {} for transfer_id in transfer_ids}
    for row in await _rows(tx, _RECEIPTS, arguments):
        transfer_id, direction = row.pop("transfer_id"), row.pop("direction")
        said[transfer_id][direction] = ReceiptSaid(**row)
    for row in await _rows(tx, _HOLDS, arguments):
        transfer_id = row.pop("transfer_id")
        said[transfer_id]["hold"] = HoldSaid(**row)
    for row in await _rows(tx, _FENCES, arguments):
        said[row["transfer_id"]]["fence_epoch"] = row["epoch"]
    by_id, by_key = await _pupils(tx, said, match_keys)
    for transfer_id, parts in said.items():
        named = _named(parts)
        parts["pupil"] = by_id.get(named) if named else by_key.get(match_keys.get(transfer_id, ""))
    return {transfer_id: End(**parts) for transfer_id, parts in said.items()}


def _named(parts: Mapping[str, Any]) -> UUID | None:
    for part in ("outgoing", "incoming", "hold"):
        if part in parts:
            pupil_id: UUID = parts[part].pupil_id
            return pupil_id
    return None


async def _pupils(
    tx: Connection, said: Mapping[UUID, Mapping[str, Any]], match_keys: Mapping[UUID, str]
) -> tuple[dict[UUID, TracedPupil], dict[str, TracedPupil]]:
    ids = [pupil_id for parts in said.values() if (pupil_id := _named(parts))]
    rows = await _rows(tx, _PUPILS, {"ids": ids, "keys": list(match_keys.values())})
    pupils = [str(row["id"]) for row in rows]
    logs: dict[str, list[Said]] = {}
    types = {"deactivated": PupilDeactivated.type, "withdrawn": PupilWithdrawn.type}
    arguments = types | {"topic": topics.PUPIL, "pupils": pupils}
    for event in await _rows(tx, _LOG, arguments) if pupils else []:
        pupil_id = event.pop("pupil_id")
        logs.setdefault(pupil_id, []).append(Said(**event))
    traced = [
        TracedPupil(
            row["id"], row["match_key"], row["revision"], row["records_moved"], row["state_changed_at"],
            row["last_outgoing"], logs.get(str(row["id"]), ()),
        )
        for row in rows
    ]  # fmt: skip
    return {pupil.pupil_id: pupil for pupil in traced}, {pupil.match_key: pupil for pupil in traced}


async def _rows(tx: Connection, query: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, arguments)
        return await cursor.fetchall()
