"""The join in SQL: what the events say, and which transfers follow from it. One transaction a batch.

`VERDICTS` is `domain.matching.decide` for a set of match keys; `tests/properties` holds one to the other.

Two transactions that each see half of the facts must not both conclude that the other half is missing. So:

- a batch of pupils locks its Kafka partitions (an advisory lock; a match key lives in one partition), then the rows of
  all establishments that its match keys touch (FOR SHARE), then derives;
- a change of an opt-in locks the establishment's row by updating it, then looks for the enrolments it touches;
- whoever derives first locks the live transfers of its match keys, which is what a mover changes.

In READ COMMITTED each statement sees what was committed before it began, so whoever comes second sees the first.
"""

from collections.abc import Iterable, Sequence

from psycopg import sql
from psycopg.rows import dict_row

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_contracts.pupils import PupilDeactivated, PupilEvent, PupilWithdrawn
from cpro_contracts.transfers import Reason, TransferCancelled, TransferEvent, TransferHeld, TransferPlanned
from cpro_platform import crash_points, outbox
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_transfer.ports import Fact

SOURCE = "/services/transfer"
DUE_CHANNEL = "transfer_due"

_LOCK_PARTITIONS = """
SELECT pg_advisory_xact_lock(hashtext(place)) FROM unnest(%s::text[]) AS place ORDER BY place
"""

# Within a batch the highest revision of each (match key, UAI) is enough: the rows arrive already reduced.
_UPSERT_ENROLMENTS = """
INSERT INTO enrolment AS known (match_key, uai, pupil_id, active, withdrawn, source, ine_status, revision, import_id,
    occurred_at, event_time)
SELECT * FROM unnest(%s::text[], %s::text[], %s::uuid[], %s::boolean[], %s::boolean[], %s::text[], %s::text[],
    %s::bigint[], %s::uuid[], %s::timestamptz[], %s::timestamptz[]) AS said
    (match_key, uai, pupil_id, active, withdrawn, source, ine_status, revision, import_id, occurred_at, event_time)
ORDER BY match_key, uai
ON CONFLICT (match_key, uai) DO UPDATE SET
    pupil_id = EXCLUDED.pupil_id, active = EXCLUDED.active, withdrawn = EXCLUDED.withdrawn, source = EXCLUDED.source,
    ine_status = EXCLUDED.ine_status, revision = EXCLUDED.revision, import_id = EXCLUDED.import_id,
    occurred_at = EXCLUDED.occurred_at, event_time = EXCLUDED.event_time
WHERE EXCLUDED.revision > known.revision
RETURNING match_key
"""

_KNOW_ESTABLISHMENTS = """
INSERT INTO establishment (uai) SELECT DISTINCT uai FROM enrolment WHERE match_key = ANY (%s) ORDER BY uai
ON CONFLICT DO NOTHING
"""
_LOCK_ESTABLISHMENTS = """
SELECT 1 FROM establishment
WHERE uai IN (SELECT uai FROM enrolment WHERE match_key = ANY (%s)) ORDER BY uai FOR SHARE
"""

_UPSERT_SHEET = """
INSERT INTO establishment AS known (uai, name, sheet_revision) VALUES (%s, %s, %s)
ON CONFLICT (uai) DO UPDATE SET name = EXCLUDED.name, sheet_revision = EXCLUDED.sheet_revision
WHERE EXCLUDED.sheet_revision > known.sheet_revision
"""
_UPSERT_OPT_IN = """
INSERT INTO establishment AS known (uai, opted_in, roster_source, opt_in_revision, opt_in_changed_at, opt_in_event_time)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (uai) DO UPDATE SET opted_in = EXCLUDED.opted_in, roster_source = EXCLUDED.roster_source,
    opt_in_revision = EXCLUDED.opt_in_revision, opt_in_changed_at = EXCLUDED.opt_in_changed_at,
    opt_in_event_time = EXCLUDED.opt_in_event_time
WHERE EXCLUDED.opt_in_revision > known.opt_in_revision
RETURNING uai
"""
_MATCH_KEYS_OF = "SELECT DISTINCT match_key FROM enrolment WHERE uai = ANY (%s) AND match_key NOT LIKE 'pupil:%%'"

VERDICTS = """
SELECT o.match_key, o.uai AS origin_uai, o.pupil_id AS origin_pupil_id, o.revision AS origin_revision,
    CASE WHEN arrivals.number = 1 THEN arrivals.uai END AS destination_uai,
    CASE WHEN arrivals.number = 1 THEN d.pupil_id END AS destination_pupil_id,
    CASE WHEN arrivals.number = 1 THEN d.revision END AS destination_revision,
    here.opt_in_revision AS origin_opt_in_revision,
    there.opt_in_revision AS destination_opt_in_revision,
    greatest(o.event_time, d.event_time, here.opt_in_event_time, there.opt_in_event_time) AS called_for_at,
    CASE
        WHEN o.withdrawn THEN 'ine_withdrawn'
        WHEN o.active THEN 'not_left'
        WHEN o.moved_at_revision >= o.revision THEN 'completed'
        WHEN o.match_key LIKE 'pupil:%%' THEN
            CASE o.ine_status WHEN 'absent' THEN 'no_ine' ELSE 'ine_not_trusted' END
        WHEN o.source NOT IN ('siecle', 'replay') THEN 'not_from_siecle'
        WHEN NOT coalesce(here.opted_in, false) THEN 'origin_not_opted_in'
        WHEN arrivals.number = 0 THEN 'not_arrived'
        WHEN arrivals.number > 1 THEN 'ambiguous_destination'
        WHEN NOT coalesce(there.opted_in, false) THEN 'destination_not_opted_in'
        ELSE 'move'
    END AS verdict
FROM enrolment o
LEFT JOIN establishment here ON here.uai = o.uai
CROSS JOIN LATERAL (
    SELECT count(*) AS number, min(a.uai) AS uai FROM enrolment a
    WHERE a.match_key = o.match_key AND a.uai <> o.uai AND a.active AND NOT a.withdrawn
        AND a.source IN ('siecle', 'replay')
) arrivals
LEFT JOIN enrolment d ON d.match_key = o.match_key AND d.uai = arrivals.uai AND arrivals.number = 1
LEFT JOIN establishment there ON there.uai = d.uai
WHERE o.match_key = ANY (%(match_keys)s)
"""

_LOCK_TRANSFERS = """
SELECT 1 FROM transfer
WHERE match_key = ANY (%s) AND state IN ('planned', 'holding', 'copying', 'landed', 'held') ORDER BY id FOR UPDATE
"""

# Is what a transfer stands for still called for? One that a mover has in hand is only asked to stop: it may have
# touched a database. One that has landed goes forward.
_CANCEL = """
WITH verdict AS (VERDICTS),
doomed AS (
    SELECT t.id, CASE
        WHEN v.verdict IS NULL THEN 'ine_withdrawn'
        WHEN v.verdict = 'not_left' OR v.origin_revision <> t.origin_revision THEN 'returned'
        WHEN v.verdict <> 'move' THEN v.verdict
        WHEN t.destination_uai IS NULL THEN t.reason
        ELSE 'not_arrived'
    END AS reason
    FROM transfer t
    LEFT JOIN verdict v ON v.match_key = t.match_key AND v.origin_uai = t.origin_uai
    WHERE t.match_key = ANY (%(match_keys)s) AND t.state IN ('planned', 'held', 'holding', 'copying')
        AND NOT coalesce(v.origin_revision = t.origin_revision
            AND v.destination_uai IS NOT DISTINCT FROM t.destination_uai
            AND (v.verdict = 'move' OR v.verdict = 'ambiguous_destination' AND t.destination_uai IS NULL), false)
)
UPDATE transfer t SET
    state = CASE WHEN t.state IN ('planned', 'held') THEN 'cancelled' ELSE t.state END,
    reason = CASE WHEN t.state IN ('planned', 'held') THEN doomed.reason ELSE t.reason END,
    state_changed_at = CASE WHEN t.state IN ('planned', 'held') THEN now() ELSE t.state_changed_at END,
    due_at = CASE WHEN t.state IN ('planned', 'held') THEN NULL ELSE t.due_at END,
    cancel_requested = CASE WHEN t.state IN ('holding', 'copying') THEN doomed.reason END
FROM doomed WHERE t.id = doomed.id
RETURNING t.*
"""

# A row that was held is planned again only when a fact has changed since: the mover saw something in the databases that
# these facts do not tell. One that was cancelled is planned again as soon as it is called for.
_PLAN = """
WITH verdict AS (VERDICTS)
INSERT INTO transfer AS known (match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai,
    destination_pupil_id, destination_revision, origin_opt_in_revision, destination_opt_in_revision, called_for_at,
    state, reason, due_at)
SELECT v.match_key, v.origin_uai, v.origin_pupil_id, v.origin_revision, v.destination_uai, v.destination_pupil_id,
    v.destination_revision, coalesce(v.origin_opt_in_revision, 0), v.destination_opt_in_revision, v.called_for_at,
    CASE v.verdict WHEN 'move' THEN 'planned' ELSE 'held' END,
    CASE v.verdict WHEN 'move' THEN NULL ELSE v.verdict END,
    CASE v.verdict WHEN 'move' THEN now() + make_interval(secs => %(settling_seconds)s) END
FROM verdict v
WHERE v.verdict IN ('move', 'ambiguous_destination')
    AND NOT EXISTS (
        SELECT 1 FROM transfer t
        WHERE t.match_key = v.match_key AND t.origin_uai = v.origin_uai AND t.state IN ('holding', 'copying', 'landed')
            AND (t.origin_revision <> v.origin_revision OR t.destination_uai IS DISTINCT FROM v.destination_uai)
    )
ORDER BY v.match_key, v.origin_uai
ON CONFLICT (match_key, origin_uai, origin_revision, destination_uai) DO UPDATE SET
    destination_pupil_id = EXCLUDED.destination_pupil_id, destination_revision = EXCLUDED.destination_revision,
    origin_opt_in_revision = EXCLUDED.origin_opt_in_revision,
    destination_opt_in_revision = EXCLUDED.destination_opt_in_revision,
    called_for_at = EXCLUDED.called_for_at, state = EXCLUDED.state, reason = EXCLUDED.reason, due_at = EXCLUDED.due_at,
    detail = NULL, cancel_requested = NULL, attempts = 0, state_changed_at = now()
WHERE known.state = 'cancelled'
    OR known.state = 'held' AND (known.destination_revision, known.origin_opt_in_revision,
        known.destination_opt_in_revision) IS DISTINCT FROM (EXCLUDED.destination_revision,
        EXCLUDED.origin_opt_in_revision, EXCLUDED.destination_opt_in_revision) AND known.destination_uai IS NOT NULL
RETURNING known.*
"""

# Called for again before the mover has acted on the request to stop.
_LET_GO_ON = """
WITH verdict AS (VERDICTS)
UPDATE transfer t SET cancel_requested = NULL FROM verdict v
WHERE t.match_key = v.match_key AND t.origin_uai = v.origin_uai AND t.origin_revision = v.origin_revision
    AND t.destination_uai = v.destination_uai AND v.verdict = 'move' AND t.cancel_requested IS NOT NULL
"""


def _with_verdicts(statement: str) -> sql.SQL:
    return sql.SQL(statement.replace("VERDICTS", VERDICTS))


_CANCEL_SQL, _PLAN_SQL, _LET_GO_ON_SQL = map(_with_verdicts, (_CANCEL, _PLAN, _LET_GO_ON))


class Projection:
    """Writes what events say and derives transfers, inside the caller's transaction."""

    def __init__(self, *, settling_seconds: float = 0) -> None:
        self._settling_seconds = settling_seconds

    async def apply(self, tx: Connection, facts: Sequence[Fact], partitions: Iterable[str]) -> list[TransferEvent]:
        """Take in a batch, and plan or cancel what follows. Returns the events to publish.

        Safe to repeat and to reorder: a revision that is not higher than the known one changes nothing.
        """
        pupils = [fact for fact in facts if isinstance(fact.event, PupilEvent)]
        touched: set[str] = set()
        if pupils:
            await tx.execute(_LOCK_PARTITIONS, (sorted(partitions),))
            touched |= await self._enrol(tx, pupils)
        touched |= await self._note_establishments(tx, facts)
        return await self.derive(tx, sorted(touched))

    async def derive(self, tx: Connection, match_keys: Sequence[str]) -> list[TransferEvent]:
        """Plan, hold or cancel transfers so that they agree with the facts under these match keys."""
        if not match_keys:
            return []
        arguments = {"match_keys": list(match_keys), "settling_seconds": self._settling_seconds}
        await tx.execute(_KNOW_ESTABLISHMENTS, (arguments["match_keys"],))
        await tx.execute(_LOCK_ESTABLISHMENTS, (arguments["match_keys"],))
        await tx.execute(_LOCK_TRANSFERS, (arguments["match_keys"],))
        await tx.execute(_LET_GO_ON_SQL, arguments)
        async with tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_CANCEL_SQL, arguments)
            changed = [row for row in await cursor.fetchall() if row["state"] == "cancelled"]
            await cursor.execute(_PLAN_SQL, arguments)
            changed += await cursor.fetchall()
            if any(row["state"] == "planned" for row in changed):
                await cursor.execute("SELECT pg_notify(%s, '')", (DUE_CHANNEL,))
        return [event_of(row) for row in changed]

    async def _enrol(self, tx: Connection, facts: Sequence[Fact]) -> set[str]:
        newest: dict[tuple[str, str], Fact] = {}
        for fact in facts:
            place = (fact.event.match_key, fact.event.uai)  # type: ignore[union-attr]
            if place not in newest or fact.event.revision > newest[place].event.revision:
                newest[place] = fact
        columns = list(zip(*(_enrolment_row(fact) for fact in newest.values()), strict=True))
        rows = await (await tx.execute(_UPSERT_ENROLMENTS, [list(column) for column in columns])).fetchall()
        return {str(row[0]) for row in rows}

    async def _note_establishments(self, tx: Connection, facts: Sequence[Fact]) -> set[str]:
        changed: set[str] = set()
        for fact in sorted(facts, key=lambda fact: (fact.event.uai, fact.event.revision)):
            event = fact.event
            if isinstance(event, EstablishmentUpdated):
                await tx.execute(_UPSERT_SHEET, (event.uai, event.name, event.revision))
            elif isinstance(event, TransferOptInChanged):
                said = (event.uai, event.enabled, event.roster_source, event.revision, event.occurred_at, fact.time)
                changed |= {str(row[0]) for row in await (await tx.execute(_UPSERT_OPT_IN, said)).fetchall()}
        if not changed:
            return set()
        return {str(row[0]) for row in await (await tx.execute(_MATCH_KEYS_OF, (sorted(changed),))).fetchall()}


def _enrolment_row(fact: Fact) -> tuple[object, ...]:
    event = fact.event
    assert isinstance(event, PupilEvent)
    withdrawn = isinstance(event, PupilWithdrawn)
    active = not withdrawn and not isinstance(event, PupilDeactivated)
    return (
        event.match_key, event.uai, event.pupil_id, active, withdrawn, event.source, event.ine_status, event.revision,
        event.import_id, event.occurred_at, fact.time,
    )  # fmt: skip


def event_of(row: dict[str, object]) -> TransferEvent:
    """What to publish of a transfer that has just changed."""
    common = {
        "transfer_id": row["id"],
        "match_key": row["match_key"],
        "origin_uai": row["origin_uai"],
        "origin_pupil_id": row["origin_pupil_id"],
        "origin_revision": row["origin_revision"],
        "destination_uai": row["destination_uai"],
        "destination_pupil_id": row["destination_pupil_id"],
        "occurred_at": row["state_changed_at"],
    }
    if row["state"] == "planned":
        return TransferPlanned.model_validate(common)
    kind = TransferHeld if row["state"] == "held" else TransferCancelled
    return kind.model_validate(common | {"reason": Reason(str(row["reason"]))})


class PostgresFacts:
    """The facts of the join, in the transfer database."""

    def __init__(self, database: Database, projection: Projection, clock: Clock) -> None:
        self._database = database
        self._projection = projection
        self._clock = clock

    async def take_in(self, facts: Sequence[Fact], partitions: Iterable[str]) -> None:
        """Note the facts and what follows from them: transfers planned, held or cancelled, with their events.

        One transaction. Safe to repeat, in any order, after any time.
        """
        async with self._database.begin() as tx:
            events = await self._projection.apply(tx, facts, partitions)
            await outbox.add(tx, events, source=SOURCE, clock=self._clock)
            crash_points.reach("join.applied")
