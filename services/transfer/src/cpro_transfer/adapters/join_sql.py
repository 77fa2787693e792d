"""The join's statements, in the order in which a batch runs them. What locks them together: `projection`.

Each does work in proportion to the match keys that it is given, whatever the tables hold and whatever the planner
believes of them: `CROSS JOIN LATERAL (… OFFSET 0)` keeps it to one look-up by index for each key. What else is asked
of a row stands outside: within, it may be looked up for each key in an index of all that wait, which took seconds.
"""

LOCK_PLACES = """
SELECT pg_advisory_xact_lock(hashtext(place)) FROM unnest(%s::text[]) AS place ORDER BY place
"""

# Within a batch the highest revision of each (match key, UAI) is enough: the rows arrive already reduced. Returned are
# the changed match keys that a second establishment knows: under a key of one alone, nothing was or is called for. The
# look beside it sees what was before this statement: of two places that are new, neither.
ENROL = """
WITH noted AS (
    INSERT INTO enrolment AS known (match_key, uai, pupil_id, active, withdrawn, source, ine_status, revision,
        import_id, occurred_at, event_time)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::uuid[], %s::boolean[], %s::boolean[], %s::text[], %s::text[],
        %s::bigint[], %s::uuid[], %s::timestamptz[], %s::timestamptz[]) AS said
        (match_key, uai, pupil_id, active, withdrawn, source, ine_status, revision, import_id, occurred_at, event_time)
    WHERE NOT EXISTS (SELECT 1 FROM erased_pupil gone WHERE gone.uai = said.uai AND gone.pupil_id = said.pupil_id)
    ORDER BY match_key, uai
    ON CONFLICT (match_key, uai) DO UPDATE SET
        pupil_id = EXCLUDED.pupil_id, active = EXCLUDED.active, withdrawn = EXCLUDED.withdrawn,
        source = EXCLUDED.source, ine_status = EXCLUDED.ine_status, revision = EXCLUDED.revision,
        import_id = EXCLUDED.import_id, occurred_at = EXCLUDED.occurred_at, event_time = EXCLUDED.event_time
    WHERE EXCLUDED.revision > known.revision
    RETURNING match_key, uai
)
SELECT match_key FROM noted GROUP BY match_key
HAVING count(*) > 1 OR bool_or(EXISTS (
    SELECT 1 FROM enrolment other WHERE other.match_key = noted.match_key AND other.uai <> noted.uai
))
"""

KNOW_ESTABLISHMENTS = """
INSERT INTO establishment (uai)
SELECT DISTINCT place.uai FROM unnest(%s::text[]) AS touched (match_key)
CROSS JOIN LATERAL (SELECT e.uai FROM enrolment e WHERE e.match_key = touched.match_key OFFSET 0) place
ORDER BY 1
ON CONFLICT DO NOTHING
"""
LOCK_ESTABLISHMENTS = """
SELECT 1 FROM establishment WHERE uai = ANY (ARRAY(
    SELECT DISTINCT place.uai FROM unnest(%s::text[]) AS touched (match_key)
    CROSS JOIN LATERAL (SELECT e.uai FROM enrolment e WHERE e.match_key = touched.match_key OFFSET 0) place
)) ORDER BY uai FOR SHARE
"""

UPSERT_SHEET = """
INSERT INTO establishment AS known (uai, name, sheet_revision) VALUES (%s, %s, %s)
ON CONFLICT (uai) DO UPDATE SET name = EXCLUDED.name, sheet_revision = EXCLUDED.sheet_revision
WHERE EXCLUDED.sheet_revision > known.sheet_revision
"""
UPSERT_OPT_IN = """
INSERT INTO establishment AS known (uai, opted_in, roster_source, opt_in_revision, opt_in_changed_at, opt_in_event_time)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (uai) DO UPDATE SET opted_in = EXCLUDED.opted_in, roster_source = EXCLUDED.roster_source,
    opt_in_revision = EXCLUDED.opt_in_revision, opt_in_changed_at = EXCLUDED.opt_in_changed_at,
    opt_in_event_time = EXCLUDED.opt_in_event_time
WHERE EXCLUDED.opt_in_revision > known.opt_in_revision
RETURNING uai
"""
MATCH_KEYS_OF = """
SELECT here.match_key, min(here.uai) FROM enrolment here
WHERE here.uai = ANY (%s) AND here.match_key NOT LIKE 'pupil:%%' AND EXISTS (
    SELECT 1 FROM enrolment other WHERE other.match_key = here.match_key AND other.uai <> here.uai
)
GROUP BY here.match_key
"""

VERDICTS = """
SELECT o.match_key, o.uai AS origin_uai, o.pupil_id AS origin_pupil_id, o.revision AS origin_revision,
    d.uai AS destination_uai, d.pupil_id AS destination_pupil_id, d.revision AS destination_revision,
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
        WHEN o.arrivals = 0 THEN 'not_arrived'
        WHEN o.arrivals > 1 THEN 'ambiguous_destination'
        WHEN NOT coalesce(there.opted_in, false) THEN 'destination_not_opted_in'
        ELSE 'move'
    END AS verdict
FROM (
    -- Who has not left is no origin, and who has left is no arrival: so none of these is the origin itself.
    SELECT e.*, count(*) FILTER (WHERE e.arrives) OVER of_the_key AS arrivals,
        min(e.uai) FILTER (WHERE e.arrives) OVER of_the_key AS arrival_uai
    FROM unnest(%(match_keys)s::text[]) AS touched (match_key)
    CROSS JOIN LATERAL (
        SELECT *, active AND NOT withdrawn AND source IN ('siecle', 'replay') AS arrives
        FROM enrolment WHERE enrolment.match_key = touched.match_key OFFSET 0
    ) e
    WINDOW of_the_key AS (PARTITION BY touched.match_key)
) o
LEFT JOIN establishment here ON here.uai = o.uai
LEFT JOIN LATERAL (
    SELECT * FROM enrolment a WHERE a.match_key = o.match_key AND a.uai = o.arrival_uai OFFSET 0
) d ON o.arrivals = 1 AND NOT o.active
LEFT JOIN establishment there ON there.uai = d.uai
"""

_LIVE = """
SELECT t.id FROM unnest(%s::text[]) AS touched (match_key)
CROSS JOIN LATERAL (SELECT id, state FROM transfer WHERE transfer.match_key = touched.match_key OFFSET 0) t
WHERE t.state IN ('planned', 'holding', 'copying', 'landed', 'held')
"""
LOCK_TRANSFERS = f"SELECT 1 FROM transfer WHERE id = ANY (ARRAY({_LIVE})) ORDER BY id FOR UPDATE"
# Asked once the locks are held: who was waited for may have planned another in place of the one that he had.
ANY_LIVE = f"SELECT EXISTS ({_LIVE})"

# Called for again before the mover has acted on the request to stop. What support asked to stop stops all the same.
LET_GO_ON = f"""
WITH verdict AS ({VERDICTS})
UPDATE transfer t SET cancel_requested = NULL FROM verdict v
WHERE t.match_key = v.match_key AND t.origin_uai = v.origin_uai AND t.origin_revision = v.origin_revision
    AND t.destination_uai = v.destination_uai AND v.verdict = 'move' AND t.cancel_requested IS NOT NULL
    AND t.cancel_requested <> 'cancelled_by_support'
"""

# Is what a transfer stands for still called for? One that a mover has in hand is only asked to stop: it may have
# touched a database. One that has landed goes forward.
CANCEL = f"""
WITH verdict AS MATERIALIZED ({VERDICTS}),
doomed AS (
    SELECT t.id, CASE
        WHEN v.verdict IS NULL THEN 'ine_withdrawn'
        WHEN v.verdict = 'not_left' OR v.origin_revision <> t.origin_revision THEN 'returned'
        WHEN v.verdict <> 'move' THEN v.verdict
        WHEN t.destination_uai IS NULL THEN t.reason
        ELSE 'not_arrived'
    END AS reason
    FROM unnest(%(match_keys)s::text[]) AS touched (match_key)
    CROSS JOIN LATERAL (SELECT * FROM transfer WHERE transfer.match_key = touched.match_key OFFSET 0) t
    LEFT JOIN verdict v ON v.match_key = t.match_key AND v.origin_uai = t.origin_uai
    WHERE t.state IN ('planned', 'held', 'holding', 'copying') AND NOT coalesce(v.origin_revision = t.origin_revision
        AND v.destination_uai IS NOT DISTINCT FROM t.destination_uai
        AND (v.verdict = 'move' OR v.verdict = 'ambiguous_destination' AND t.destination_uai IS NULL), false)
)
UPDATE transfer t SET
    state = CASE WHEN t.state IN ('planned', 'held') THEN 'cancelled' ELSE t.state END,
    reason = CASE WHEN t.state IN ('planned', 'held') THEN doomed.reason ELSE t.reason END,
    state_changed_at = CASE WHEN t.state IN ('planned', 'held') THEN now() ELSE t.state_changed_at END,
    due_at = CASE WHEN t.state IN ('planned', 'held') THEN NULL ELSE t.due_at END,
    cancel_requested = CASE
        WHEN t.cancel_requested = 'cancelled_by_support' THEN t.cancel_requested
        WHEN t.state IN ('holding', 'copying') THEN doomed.reason
    END
FROM doomed WHERE t.id = doomed.id
RETURNING t.*
"""

# A row that was held is planned again only when a fact has changed since: the mover saw something in the databases that
# these facts do not tell. So is one that support has cancelled: it stands against the facts that it was cancelled
# under. One that was cancelled otherwise is planned again as soon as it is called for, and one that is planned when the
# destination gives the match key to another of its pupils.
PLAN = f"""
WITH verdict AS ({VERDICTS})
INSERT INTO transfer AS known (match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai,
    destination_pupil_id, destination_revision, origin_opt_in_revision, destination_opt_in_revision, called_for_at,
    state, reason, due_at, traceparent)
SELECT v.match_key, v.origin_uai, v.origin_pupil_id, v.origin_revision, v.destination_uai, v.destination_pupil_id,
    v.destination_revision, coalesce(v.origin_opt_in_revision, 0), v.destination_opt_in_revision, v.called_for_at,
    CASE v.verdict WHEN 'move' THEN 'planned' ELSE 'held' END,
    CASE v.verdict WHEN 'move' THEN NULL ELSE v.verdict END,
    CASE v.verdict WHEN 'move' THEN now() + make_interval(secs => %(settling_seconds)s) END,
    coalesce(%(traces)s::jsonb ->> v.match_key, %(traceparent)s)
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
    detail = NULL, cancel_requested = NULL, attempts = 0, state_changed_at = now(), traceparent = EXCLUDED.traceparent
WHERE known.state = 'cancelled' AND known.reason <> 'cancelled_by_support'
    OR known.state = 'planned' AND known.destination_pupil_id <> EXCLUDED.destination_pupil_id
    OR (known.state = 'held' OR known.state = 'cancelled') AND (known.destination_revision,
        known.origin_opt_in_revision, known.destination_opt_in_revision) IS DISTINCT FROM (
        EXCLUDED.destination_revision, EXCLUDED.origin_opt_in_revision, EXCLUDED.destination_opt_in_revision)
        AND known.destination_uai IS NOT NULL
RETURNING id, match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai, destination_pupil_id,
    state, reason, state_changed_at
"""
