"""What the transfer database holds of a pupil, and how it goes.

Locks are taken as the join takes them, enrolments, then establishments, then transfers: what it derives meanwhile is
either seen here or finds no enrolment any more.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_transfer.adapters.audit_trail import AuditTrail
from cpro_transfer.domain.subjects import Erasure, ErasurePlan, Place
from cpro_transfer.domain.support import Action, AuditEntry, Order
from cpro_transfer.domain.transfers import IN_HAND
from cpro_transfer.errors import TransferUnderWayError

# Only transfers that the databases have carried out: they compared the person, or support chose them.
_PLACES = """
WITH RECURSIVE place (uai, pupil_id) AS (
    SELECT %(uai)s::text, %(pupil)s::uuid
    UNION
    SELECT CASE WHEN from_here THEN t.destination_uai ELSE t.origin_uai END,
        CASE WHEN from_here THEN t.destination_pupil_id ELSE t.origin_pupil_id END
    FROM place JOIN transfer t ON (t.origin_uai, t.origin_pupil_id) = (place.uai, place.pupil_id)
        OR (t.destination_uai, t.destination_pupil_id) = (place.uai, place.pupil_id)
    CROSS JOIN LATERAL (SELECT (t.origin_uai, t.origin_pupil_id) = (place.uai, place.pupil_id)) AS side (from_here)
    WHERE t.state IN ('landed', 'completed', 'undone')
)
SELECT uai, pupil_id FROM place ORDER BY 1, 2
"""
_HERE = "SELECT * FROM unnest(%(uais)s::text[], %(pupils)s::uuid[]) AS place (uai, pupil_id)"
_TRANSFER_OF = f"""
EXISTS (SELECT 1 FROM ({_HERE}) p WHERE (p.uai, p.pupil_id) IN (
    (t.origin_uai, t.origin_pupil_id), (t.destination_uai, t.destination_pupil_id)))
"""
_AUTHORISATION_OF = f"""
EXISTS (SELECT 1 FROM ({_HERE}) p WHERE (p.uai, p.pupil_id) IN (
    (t.origin_uai, t.origin_pupil_id), (t.destination_uai, t.destination_pupil_id)))
"""
_ENROLMENT_OF = f"EXISTS (SELECT 1 FROM ({_HERE}) p WHERE p.uai = t.uai AND p.pupil_id = t.pupil_id)"
_EVENT_OF = """
(t.payload ->> 'origin_pupil_id' = ANY (%(texts)s) OR t.payload ->> 'destination_pupil_id' = ANY (%(texts)s)
    OR t.payload ->> 'pupil_id' = ANY (%(texts)s))
"""
# A letter that can't be read is searched as bytes: for the ids, and for the keys that the pupil is known by.
_LETTER_OF = f"""
EXISTS (
    SELECT 1 FROM unnest(%(texts)s::text[] || ARRAY(SELECT match_key FROM enrolment t WHERE {_ENROLMENT_OF})) AS word
    WHERE position(convert_to(word, 'UTF8') IN t.value) > 0 OR position(convert_to(word, 'UTF8') IN t.key) > 0)
"""
_AUDIT_OF = _TRANSFER_OF
_TAKEN = {
    "enrolment": _ENROLMENT_OF,
    "transfer_authorisation": _AUTHORISATION_OF,
    "dead_letter": _LETTER_OF,
    "outbox": _EVENT_OF,
}
_LEFT = {"transfer": _TRANSFER_OF, "audit_entry": _AUDIT_OF}
# Who orders the same at once waits, and then finds the order. In one order, for two may begin at either end.
_TAKE_PLACES = f"""
SELECT pg_advisory_xact_lock(hashtextextended('erasure/' || uai || '/' || pupil_id, 0))
FROM ({_HERE} ORDER BY 1, 2) p
"""
_LOCK = (
    f"SELECT 1 FROM enrolment t WHERE {_ENROLMENT_OF} ORDER BY match_key, uai FOR UPDATE",
    "SELECT 1 FROM establishment WHERE uai = ANY (%(uais)s) ORDER BY uai FOR UPDATE",
)
_LOCK_TRANSFERS = f"SELECT state FROM transfer t WHERE {_TRANSFER_OF} ORDER BY id FOR UPDATE"
_IN_HAND = frozenset(map(str, IN_HAND))
_ORDER = """
INSERT INTO erasure (id, uai, pupil_id, plan_digest, ticket, requested_by, requested_at, erased)
VALUES (%(id)s, %(uai)s, %(pupil)s, %(digest)s, %(ticket)s, %(by)s, %(now)s, %(erased)s)
"""
_MARK = f"""
INSERT INTO erased_pupil (uai, pupil_id, erasure_id) SELECT uai, pupil_id, %(id)s FROM ({_HERE}) p
ON CONFLICT DO NOTHING
"""
# In this order: letters are looked for by the keys of the enrolments. A letter's place stays, for the reader goes on
# after the newest: it is emptied, and nobody can replay it.
_ERASE = (
    f"""
    UPDATE dead_letter t SET key = NULL, value = NULL, detail = '', header_names = '{{}}', header_values = '{{}}',
        state = CASE WHEN state = 'waiting' THEN 'discarded' ELSE state END,
        settled_at = coalesce(settled_at, %(now)s), settled_by = coalesce(settled_by, %(by)s),
        ticket = coalesce(ticket, %(ticket)s), reason = coalesce(reason, 'erased')
    WHERE {_LETTER_OF}
    """,
    f"DELETE FROM enrolment t WHERE {_ENROLMENT_OF}",
    f"DELETE FROM transfer_authorisation t WHERE {_AUTHORISATION_OF}",
    f"DELETE FROM outbox t WHERE {_EVENT_OF}",
    f"""
    UPDATE transfer t SET match_key = 'erased:' || t.id, detail = NULL,
        state = CASE WHEN state IN ('planned', 'held') THEN 'cancelled' ELSE state END,
        reason = CASE WHEN state IN ('planned', 'held') THEN 'cancelled_by_support' ELSE reason END,
        state_changed_at = CASE WHEN state IN ('planned', 'held') THEN now() ELSE state_changed_at END,
        due_at = NULL
    WHERE {_TRANSFER_OF} AND t.match_key <> 'erased:' || t.id
    """,
)
_FIND = """
SELECT e.id, e.erased, e.finished_at IS NOT NULL AS finished,
    (SELECT array_agg(ARRAY[p.uai, p.pupil_id::text] ORDER BY p.uai, p.pupil_id) FROM erased_pupil p
     WHERE p.erasure_id = e.id) AS places
FROM erasure e JOIN erased_pupil here ON here.erasure_id = e.id WHERE here.uai = %s AND here.pupil_id = %s
"""
_FINISH = "UPDATE erasure SET finished_at = %s WHERE id = %s AND finished_at IS NULL"


class PostgresSubjectLedger:
    """Implements `ports.SubjectLedger`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def places(self, place: Place) -> tuple[Place, ...]:
        """The pupil's places, by what was carried out."""
        async with self._database.begin() as tx:
            rows = await tx.execute(_PLACES, {"uai": place.uai, "pupil": place.pupil_id})
            return tuple(Place(uai, pupil_id) for uai, pupil_id in await rows.fetchall())

    async def counts(self, places: Sequence[Place]) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """What an erasure takes, and what it leaves."""
        arguments = _arguments(places)
        async with self._database.begin() as tx:
            return await _counted(tx, _TAKEN, arguments), await _counted(tx, _LEFT, arguments)

    async def contents(self, places: Sequence[Place]) -> dict[str, list[dict[str, Any]]]:
        """Every row of the pupil, by table, as JSON."""
        arguments = _arguments(places)
        found: dict[str, list[dict[str, Any]]] = {}
        async with self._database.begin() as tx:
            for table, condition in (_TAKEN | _LEFT).items():
                rows = await tx.execute(f"SELECT to_jsonb(t) FROM {table} t WHERE {condition}", arguments)
                found[table] = [row[0] for row in await rows.fetchall()]
        return {table: rows for table, rows in found.items() if rows}

    async def note_export(self, place: Place, order: Order, counts: Mapping[str, int]) -> None:
        """See `ports.SubjectLedger`."""
        async with self._database.begin() as tx:
            await AuditTrail.add(tx, _entry(order, Action.SUBJECT_EXPORTED, place, rows=sum(counts.values())))

    async def erasure_of(self, place: Place) -> Erasure | None:
        """See `ports.SubjectLedger`."""
        async with self._database.begin() as tx:
            return await _found(tx, place)

    async def begin_erasure(self, place: Place, plan: ErasurePlan, order: Order) -> Erasure:
        """See `ports.SubjectLedger`. Of two who order the same at once the second finds the first one's order."""
        erasure = Erasure(uuid4(), tuple(sorted(plan.places)), plan.counts(), finished=False)
        arguments = _arguments(erasure.places) | {
            "id": erasure.id, "uai": place.uai, "pupil": place.pupil_id, "digest": plan.digest,
            "ticket": order.ticket, "by": order.actor, "now": self._clock.now(), "erased": Jsonb(plan.counts()),
        }  # fmt: skip
        async with self._database.begin() as tx:
            await tx.execute(_TAKE_PLACES, arguments)
            if begun := await _found(tx, place):
                return begun
            for statement in _LOCK:
                await tx.execute(statement, arguments)
            states = await (await tx.execute(_LOCK_TRANSFERS, arguments)).fetchall()
            if _IN_HAND & {row[0] for row in states}:
                raise TransferUnderWayError
            await tx.execute(_ORDER, arguments)
            await tx.execute(_MARK, arguments)
            for statement in _ERASE:
                await tx.execute(statement, arguments)
            await AuditTrail.add(tx, _entry(order, Action.ERASURE_BEGUN, place, erasure_id=erasure.id))
        return erasure

    async def finish_erasure(self, erasure: Erasure, place: Place, order: Order) -> None:
        """See `ports.SubjectLedger`. The line in the audit trail is written once."""
        rows = sum(number for tables in erasure.erased.values() for number in tables.values())
        async with self._database.begin() as tx:
            finished = await tx.execute(_FINISH, (self._clock.now(), erasure.id))
            if finished.rowcount:
                entry = _entry(
                    order, Action.SUBJECT_ERASED, place, erasure_id=erasure.id, rows=rows, places=len(erasure.places)
                )
                await AuditTrail.add(tx, entry)


async def _found(tx: Connection, place: Place) -> Erasure | None:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_FIND, (place.uai, place.pupil_id))
        row = await cursor.fetchone()
    if row is None:
        return None
    places = tuple(Place(uai, UUID(pupil_id)) for uai, pupil_id in row["places"])
    return Erasure(row["id"], places, row["erased"], row["finished"])


def _entry(order: Order, action: Action, place: Place, *, erasure_id: UUID | None = None, **facts: int) -> AuditEntry:
    return AuditEntry(
        order, action, subject_id=erasure_id, origin_uai=place.uai, origin_pupil_id=place.pupil_id, facts=dict(facts)
    )


def _arguments(places: Sequence[Place]) -> dict[str, Any]:
    return {
        "uais": [place.uai for place in places],
        "pupils": [place.pupil_id for place in places],
        "texts": [str(place.pupil_id) for place in places],
    }


async def _counted(tx: Connection, conditions: Mapping[str, str], arguments: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for table, condition in conditions.items():
        rows = await tx.execute(f"SELECT count(*) FROM {table} t WHERE {condition}", arguments)
        row = await rows.fetchone()
        found[table] = row[0] if row else 0
    return {table: number for table, number in found.items() if number}
