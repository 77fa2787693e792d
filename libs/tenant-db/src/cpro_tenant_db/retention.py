"""What an establishment's database keeps no longer. One transaction a kind; each can be repeated, and run beside work.

| kind     | what goes                                                             | what it waits for             |
|----------|-----------------------------------------------------------------------|-------------------------------|
| receipts | the oldest, from the front of the chain; the anchor holds it          | the chain's row, as movers do |
| stubs    | who has left, whose records have moved, and who has nothing left here | the pupil's row               |
| details  | names in the remarks and changes of imports                           | nothing                       |

Of a transfer the outgoing receipt goes a day before the incoming one: whoever finds an outgoing one alone is told that
the landing was lost.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource, PupilWithdrawn
from cpro_platform import outbox
from cpro_platform.clock import Clock
from cpro_platform.database import Connection
from cpro_tenant_db.catalogue import CATALOGUE

SOURCE = "/libs/tenant-db/retention"
_DAY = timedelta(days=1)
_STUBS_AT_A_TIME = 500
_LOCK_CHAIN = "SELECT sequence, forgotten_sequence FROM transfer_receipt_chain FOR UPDATE"
# Receipts go from the front only: the first that is not due keeps all that follow.
_DUE = """
SELECT count(*), max(sequence) FROM transfer_receipt WHERE sequence < coalesce((
    SELECT min(sequence) FROM transfer_receipt
    WHERE written_at >= CASE direction WHEN 'outgoing' THEN %(before)s ELSE %(day_before)s END), 9223372036854775807)
"""
_ANCHOR = """
UPDATE transfer_receipt_chain SET forgotten_sequence = r.sequence, forgotten_hash = r.hash, forgotten_at = %(now)s,
    forgotten_written_at = r.written_at
FROM transfer_receipt r WHERE r.sequence = %(up_to)s
"""
_FORGET = "DELETE FROM transfer_receipt WHERE sequence <= %(up_to)s"
_NO_RECORDS = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table.name} r WHERE r.pupil_id = p.id)"  # noqa: S608 - the catalogue's names
    for table in CATALOGUE
    if table.parent == "pupil"
)
_STUB = f"""
FROM pupil p WHERE NOT p.active AND p.records_moved_at < %(before)s AND {_NO_RECORDS}
    AND NOT EXISTS (SELECT 1 FROM transfer_hold h WHERE h.pupil_id = p.id)
"""  # noqa: S608 - the names of our own tables
_COUNT_STUBS = f"SELECT count(*) {_STUB}"
_FIND_STUBS = f"SELECT p.id {_STUB} ORDER BY p.id LIMIT {_STUBS_AT_A_TIME} FOR UPDATE OF p SKIP LOCKED"
# Once they are locked nobody gives them records or a hold any more: looked at again.
_STUBS_STILL = f"SELECT p.id, p.match_key, p.source, p.ine_status {_STUB} AND p.id = ANY (%(pupils)s)"
_REVISIONS = "SELECT nextval('pupil_revision') FROM generate_series(1, %s)"
_DELETE_STUBS = (
    "DELETE FROM siecle_import_change WHERE pupil_id = ANY (%s)",
    "DELETE FROM pupil_ine_alias WHERE pupil_id = ANY (%s)",
    "DELETE FROM pupil WHERE id = ANY (%s)",
)
_DETAILS: tuple[LiteralString, ...] = ("siecle_import_finding", "siecle_import_change")


@dataclass(frozen=True, slots=True)
class Kept:
    """How long, in each establishment's database."""

    receipts: timedelta
    stubs: timedelta
    details: timedelta


async def forget_receipts(tx: Connection, kept: timedelta, now: datetime, *, dry_run: bool) -> int:
    """Let go of the oldest receipts, and anchor the chain at the last of them. Returns how many."""
    before = now - kept
    await tx.execute(_LOCK_CHAIN)
    row = await (await tx.execute(_DUE, {"before": before, "day_before": before - _DAY})).fetchone()
    number, up_to = row or (0, None)
    if number and not dry_run:
        await tx.execute(_ANCHOR, {"up_to": up_to, "now": now})
        await tx.execute(_FORGET, {"up_to": up_to})
    return int(number)


async def count_stubs(tx: Connection, kept: timedelta, now: datetime) -> int:
    """How many pupils there are of whom nothing but the row is left, for so long."""
    row = await (await tx.execute(_COUNT_STUBS, {"before": now - kept})).fetchone()
    return int(row[0]) if row else 0


async def forget_stubs(tx: Connection, uai: str, kept: timedelta, clock: Clock) -> int:
    """Delete some stubs, and tell that they go by their match key no more. Returns how many; 0: none is left.

    The caller has noted that this outbox is written to.
    """
    arguments: dict[str, Any] = {"before": clock.now() - kept}
    locked = [row[0] for row in await (await tx.execute(_FIND_STUBS, arguments)).fetchall()]
    stubs = await (await tx.execute(_STUBS_STILL, arguments | {"pupils": locked})).fetchall()
    revisions = await (await tx.execute(_REVISIONS, (len(stubs),))).fetchall()
    events = [
        PupilWithdrawn(
            match_key=key, uai=uai, pupil_id=pupil_id, revision=revision, occurred_at=clock.now(),
            source=EnrolmentSource(source), ine_status=IneStatus(status),
        )
        for (pupil_id, key, source, status), (revision,) in zip(stubs, revisions, strict=True)
    ]  # fmt: skip
    for statement in _DELETE_STUBS if stubs else ():
        await tx.execute(statement, ([row[0] for row in stubs],))
    await outbox.add(tx, events, source=SOURCE, clock=clock, wake_relay=False)
    return len(stubs)


async def forget_details(tx: Connection, kept: timedelta, now: datetime, *, dry_run: bool) -> int:
    """Delete the remarks and changes of imports long past. Returns how many rows."""
    before, number = now - kept, 0
    for table in _DETAILS:
        if dry_run:
            row = await (
                await tx.execute(f"SELECT count(*) FROM {table} WHERE created_at < %s", (before,))  # noqa: S608
            ).fetchone()
            number += int(row[0]) if row else 0
        else:
            gone = await tx.execute(f"DELETE FROM {table} WHERE created_at < %s", (before,))  # noqa: S608
            number += gone.rowcount
    return number
