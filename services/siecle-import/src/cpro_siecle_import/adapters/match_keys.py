"""The match keys in one establishment's database, made anew with the secret of now.

A pupil who is held for a transfer is let be: the mover has the old key in hand, and the next run finds them. The hold
updates the pupil's row, so the lock on the row here says which of the two came first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from cpro_contracts.identifiers import IneStatus, MatchSecret, match_key_of_ine
from cpro_contracts.pupils import (
    EnrolmentSource,
    FormerKey,
    PupilCreated,
    PupilDeactivated,
    PupilEvent,
    PupilWithdrawn,
)
from cpro_platform import crash_points, outbox
from cpro_platform.clock import Clock
from cpro_platform.database import Connection
from cpro_siecle_import.adapters import roster_sql
from cpro_siecle_import.adapters.roster import SOURCE
from cpro_siecle_import.ports import Rekeyed
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.tenant_outbox import TenantOutbox

_PUPILS_AT_A_TIME = 500
_KEYED = """
SELECT id, ine, match_key FROM pupil
WHERE ine_status = 'trusted' AND match_key LIKE 'ine:%%' AND id > %s ORDER BY id LIMIT %s
"""
_LOCK = """
SELECT id, ine, ine_status, match_key, revision, active, source, state_changed_at, leaving_date, last_import_id,
    records_moved_at IS NOT NULL AND NOT active AS records_moved
FROM pupil WHERE id = ANY (%s) AND ine_status = 'trusted' AND match_key LIKE 'ine:%%' ORDER BY id FOR UPDATE
"""
_HELD = "SELECT pupil_id FROM transfer_hold WHERE pupil_id = ANY (%s)"
_REVISIONS = "SELECT nextval('pupil_revision') FROM generate_series(1, %s)"
_REKEY = """
UPDATE pupil p SET match_key = given.match_key, revision = given.revision, updated_at = now()
FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS given (id, match_key, revision) WHERE p.id = given.id
"""
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class TenantMatchKeys:
    """Implements `ports.MatchKeys`."""

    tenants: TenantConnections
    outbox: TenantOutbox
    secret: MatchSecret
    clock: Clock

    async def rekey(self, uai: str, *, dry_run: bool) -> Rekeyed:
        """Give every pupil whose key was made otherwise the key of now, and publish it.

        Some hundred pupils a transaction: who dies in between has done some, and the next run does the others.

        Raises:
            TenantUnknownError: there is no such establishment.
            Exception: transient.
        """
        done, after = Rekeyed(uai), _FIRST
        while True:
            async with self.tenants.begin(uai) as tx:
                rows = await (await tx.execute(_KEYED, (after, _PUPILS_AT_A_TIME))).fetchall()
            if not rows:
                return done
            after = rows[-1][0]
            others = [pupil_id for pupil_id, ine, key in rows if key != match_key_of_ine(ine, self.secret)]
            if others and dry_run:
                async with self.tenants.begin(uai) as tx:
                    held = len(await _held(tx, others))
                done += Rekeyed(uai, len(others) - held, held)
            elif others:
                done += await self._rekey_some(uai, others)

    async def _rekey_some(self, uai: str, pupil_ids: Sequence[UUID]) -> Rekeyed:
        async with self.outbox.writing(uai) as tx:
            await tx.execute(roster_sql.LOCK_SCHOOL)  # no import meanwhile: it keeps the keys that it has read
            async with tx.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(_LOCK, (list(pupil_ids),))
                pupils = await cursor.fetchall()
            held = await _held(tx, pupil_ids)
            changing = [row for row in pupils if row["id"] not in held]
            changing = [row for row in changing if row["match_key"] != match_key_of_ine(row["ine"], self.secret)]
            revisions = [row[0] for row in await (await tx.execute(_REVISIONS, (2 * len(changing),))).fetchall()]
            now = self.clock.now()
            events: list[PupilEvent] = []
            for row, withdrawn, told in zip(changing, revisions[::2], revisions[1::2], strict=True):
                events += _events(uai, row, match_key_of_ine(row["ine"], self.secret), (withdrawn, told), now)
            states = [event for event in events if event.formerly]
            keys, ids = [event.match_key for event in states], [row["id"] for row in changing]
            await tx.execute(_REKEY, (ids, keys, [event.revision for event in states]))
            await outbox.add(tx, events, source=SOURCE, clock=self.clock, wake_relay=False)
            crash_points.reach("rotation.rekeyed")
        return Rekeyed(uai, len(changing), len(held))


async def _held(tx: Connection, pupil_ids: Sequence[UUID]) -> set[UUID]:
    return {row[0] for row in await (await tx.execute(_HELD, (list(pupil_ids),))).fetchall()}


def _events(
    uai: str, row: dict[str, Any], key: str, revisions: tuple[int, int], now: datetime
) -> tuple[PupilEvent, PupilEvent]:
    """Withdrawn under the old key, and in the state that they are in under the new one."""
    withdrawn, told = revisions
    common = {
        "uai": uai,
        "pupil_id": row["id"],
        "source": EnrolmentSource(row["source"]),
        "ine_status": IneStatus(row["ine_status"]),
        "import_id": row["last_import_id"],
    }
    gone = PupilWithdrawn(**common, match_key=row["match_key"], revision=withdrawn, occurred_at=now)
    state: dict[str, Any] = common | {
        "match_key": key,
        "revision": told,
        "occurred_at": row["state_changed_at"],
        "formerly": FormerKey(match_key=row["match_key"], revision=row["revision"], records_moved=row["records_moved"]),
    }
    if row["active"]:
        return gone, PupilCreated(**state)
    left = row["leaving_date"]
    return gone, PupilDeactivated(**state, left_at=datetime.combine(left, time(), UTC) if left else None)
