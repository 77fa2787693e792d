"""Pupils whose match key was made anew with another secret: what was decided under the old key stands under the new.

A rotation tells of each pupil twice: withdrawn under the old key, and, in the same state, under the new one, with the
key and the revision that it had (`cpro_contracts.pupils.FormerKey`). To the join these would be new facts, and new
facts call for a move: of records that have moved, that support has taken back, or that a mover has in hand. So the
transfer of that state goes over to the new key and revision with all that has become of it. Its id stays, which is what
movers, receipts and authorisations go by.

Order does not matter. What was withdrawn first is cancelled, goes over, and is called for again under the new key; what
goes over first is not found when the withdrawal comes. Told again, nothing is left to go over.
"""

from collections.abc import Sequence

from cpro_contracts.pupils import PupilEvent
from cpro_platform.database import Connection
from cpro_transfer.adapters import join_sql

_SAID = """
unnest(%(keys)s::text[], %(uais)s::text[], %(pupils)s::uuid[], %(revisions)s::bigint[], %(former_keys)s::text[],
    %(former_revisions)s::bigint[], %(moved)s::boolean[])
    AS said (match_key, uai, pupil_id, revision, former_key, former_revision, records_moved)
"""
_THEIRS = f"""
FROM transfer t JOIN {_SAID} ON t.match_key = said.former_key AND t.origin_uai = said.uai
    AND t.origin_pupil_id = said.pupil_id AND t.origin_revision = said.former_revision
"""
# The other end, under whichever of the two keys it is: a destination that is told anew in the same state is no new
# fact, and what support has cancelled stands.
_TO_THEM = f"""
FROM transfer t JOIN {_SAID} ON t.match_key IN (said.former_key, said.match_key) AND t.destination_uai = said.uai
    AND t.destination_pupil_id = said.pupil_id AND t.destination_revision = said.former_revision
"""
_LOCK = f"""
SELECT 1 FROM transfer WHERE id = ANY (ARRAY(SELECT t.id {_THEIRS} UNION SELECT t.id {_TO_THEM})) ORDER BY id FOR UPDATE
"""
_RENUMBER = f"""
UPDATE transfer told SET destination_revision = said.revision {_TO_THEM} WHERE told.id = t.id
"""
# Where the new key has brought forth one of its own to the same place already, both stay: only one finds records.
_CARRY_OVER = f"""
UPDATE transfer carried SET match_key = said.match_key, origin_revision = said.revision
{_THEIRS}
WHERE carried.id = t.id AND NOT EXISTS (
    SELECT 1 FROM transfer own WHERE own.match_key = said.match_key AND own.origin_uai = said.uai
        AND own.origin_revision = said.revision AND own.destination_uai IS NOT DISTINCT FROM t.destination_uai)
"""
# An enrolment whose records have left, or were taken back, does not call for them again: as after the transfer itself.
_NOTE_MOVED = f"""
UPDATE enrolment e SET moved_at_revision = e.revision FROM {_SAID}
WHERE e.match_key = said.match_key AND e.uai = said.uai AND e.revision = said.revision
    AND (said.records_moved OR EXISTS (
        SELECT 1 FROM transfer t WHERE t.match_key = e.match_key AND t.origin_uai = e.uai
            AND t.origin_revision = e.revision AND t.state IN ('completed', 'undone')))
"""


async def carry_over(tx: Connection, events: Sequence[PupilEvent]) -> set[str]:
    """Let what was decided under former keys stand under the new ones; returns the new keys, to be derived.

    Establishments are locked before transfers, as whoever derives does.
    """
    rekeyed = [(event, event.formerly) for event in events if event.formerly]
    if not rekeyed:
        return set()
    keys = [event.match_key for event, _ in rekeyed]
    former_keys = [formerly.match_key for _, formerly in rekeyed]
    arguments = {
        "keys": keys,
        "uais": [event.uai for event, _ in rekeyed],
        "pupils": [event.pupil_id for event, _ in rekeyed],
        "revisions": [event.revision for event, _ in rekeyed],
        "former_keys": former_keys,
        "former_revisions": [formerly.revision for _, formerly in rekeyed],
        "moved": [formerly.records_moved for _, formerly in rekeyed],
    }
    touched = (sorted({*keys, *former_keys}),)
    await tx.execute(join_sql.KNOW_ESTABLISHMENTS, touched)
    await tx.execute(join_sql.LOCK_ESTABLISHMENTS, touched)
    await tx.execute(_LOCK, arguments)
    await tx.execute(_RENUMBER, arguments)
    await tx.execute(_CARRY_OVER, arguments)
    await tx.execute(_NOTE_MOVED, arguments)
    return set(keys)
