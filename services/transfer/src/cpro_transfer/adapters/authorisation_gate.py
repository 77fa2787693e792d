"""The last question before a hold: does the authorisation that a transfer acts under still hold?

A pupil under `authorisation:<id>` is not compared by INE, so the authorisation is all that stands between an event and
somebody's records. It is asked here, in the transfer database, just before the hold, and what is asked is not only
whether it was revoked: the transfer must go from the pupil and to the pupil that support chose under a ticket. An event
that anybody else wrote under such a key moves nothing.

**A revocation that races with the hold.** Both want the authorisation's row; one of them commits first.

- The revocation first: the gate finds the row ended, the transfer is held (`authorisation_revoked`), nothing moves.
- The gate first: it has noted the transfer in the row (`transfer_id`). The revocation finds the note and is refused
  (409), for the move has begun.

So a revocation that was accepted means that nothing moves by it, and one that comes too late says so: there is no
third way. The note goes away when the mover sets the transfer aside or ends it (`reopen`), in the same transaction,
after it has raised the fence and seen that nothing has landed; then the authorisation can be revoked again. A mover
whose epoch is over does not pass, even before its successor has raised any fence: the transfer's row is locked while
its epoch is compared. So nobody lands by a note that another has taken away.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from cpro_contracts.identifiers import AUTHORISATION_KEY_PREFIX
from cpro_contracts.transfers import Reason
from cpro_platform.database import Connection
from cpro_transfer.domain.authorisations import Ended, first_day
from cpro_transfer.domain.transfers import Claim
from cpro_transfer.errors import SupersededError

# Transfers before authorisations, as everybody locks them. A new epoch waits for this, and this for a new epoch.
_LOCK_TRANSFERS = """
SELECT t.id FROM transfer t
JOIN unnest(%(ids)s::uuid[], %(epochs)s::bigint[]) AS mine (id, epoch) USING (id, epoch)
ORDER BY t.id FOR SHARE OF t
"""
_LOCK_AUTHORISATIONS = """
SELECT id FROM transfer_authorisation WHERE id::text = ANY (%(authorisations)s) ORDER BY id FOR UPDATE
"""
_QUESTION = """
SELECT t.id, a.id IS NOT NULL AND a.ended_at IS NULL AND a.destination_uai = t.destination_uai
        AND a.origin_uai = t.origin_uai AND a.origin_pupil_id = t.origin_pupil_id
        AND a.destination_pupil_id = t.destination_pupil_id AS allowed,
    coalesce(a.ended_as = 'expired' OR a.ended_at IS NULL AND a.expires_on < %(today)s, false) AS expired
FROM transfer t LEFT JOIN transfer_authorisation a ON t.match_key = %(prefix)s || a.id
WHERE t.id = ANY (%(ids)s)
"""
_NOTE = """
UPDATE transfer_authorisation a SET transfer_id = t.id FROM transfer t
WHERE t.id = ANY (%(passed)s) AND t.match_key = %(prefix)s || a.id
"""
_REOPEN = "UPDATE transfer_authorisation SET transfer_id = NULL WHERE transfer_id = ANY (%s) AND ended_at IS NULL"
_EXECUTED = """
UPDATE transfer_authorisation SET ended_at = now(), ended_as = %(executed)s WHERE transfer_id = ANY (%(ids)s)
    AND ended_at IS NULL
"""
# The pupil's other keys as well: by whatever key it was moved, of what was here until this revision nothing is left.
_NOTE_MOVED_UNDER_ALL_KEYS = """
UPDATE enrolment e SET moved_at_revision = t.origin_revision FROM transfer t
WHERE t.id = ANY (%(ids)s) AND e.uai = t.origin_uai AND e.pupil_id = t.origin_pupil_id
    AND e.moved_at_revision < t.origin_revision
"""


def acts_under_authorisation(match_key: str) -> bool:
    """Whether records under this key move by an authorisation."""
    return match_key.startswith(AUTHORISATION_KEY_PREFIX)


async def pass_gate(tx: Connection, claims: Sequence[Claim], now: datetime) -> dict[UUID, Reason]:
    """Note in their authorisations that these transfers are being carried out. Returns those that may not be.

    Safe to repeat: who has passed passes again, as long as the authorisation holds.

    Raises:
        SupersededError: one of the transfers is another mover's by now.
    """
    ids = [claim.id for claim in claims]
    arguments: dict[str, Any] = {
        "ids": ids,
        "epochs": [claim.epoch for claim in claims],
        "prefix": AUTHORISATION_KEY_PREFIX,
        "authorisations": [claim.match_key.removeprefix(AUTHORISATION_KEY_PREFIX) for claim in claims],
        "today": first_day(now),
    }
    ours = await (await tx.execute(_LOCK_TRANSFERS, arguments)).fetchall()
    if len(ours) < len(claims):
        raise SupersededError
    await tx.execute(_LOCK_AUTHORISATIONS, arguments)
    refused: dict[UUID, Reason] = {}
    for transfer_id, allowed, expired in await (await tx.execute(_QUESTION, arguments)).fetchall():
        if expired:
            refused[transfer_id] = Reason.AUTHORISATION_EXPIRED
        elif not allowed:
            refused[transfer_id] = Reason.AUTHORISATION_REVOKED
    await tx.execute(_NOTE, arguments | {"passed": [one for one in ids if one not in refused]})
    return refused


async def reopen(tx: Connection, transfer_ids: Sequence[UUID]) -> None:
    """Nothing has moved by these transfers, and now nothing will: their authorisations can be revoked again."""
    await tx.execute(_REOPEN, (list(transfer_ids),))


async def close_executed(tx: Connection, transfer_ids: Sequence[UUID]) -> None:
    """The records have moved by these transfers."""
    arguments = {"ids": list(transfer_ids), "executed": Ended.EXECUTED}
    await tx.execute(_EXECUTED, arguments)
    await tx.execute(_NOTE_MOVED_UNDER_ALL_KEYS, arguments)
