"""All SQL that an import runs in an establishment's database, in the order in which it runs.

The same rules as `domain/plan.py`, which is their specification: a property test holds the two together. Everything
works on temporary tables that end with the transaction; only the statements of `APPLY` write to lasting ones.
"""

from cpro_siecle_import.domain.lines import DivisionLine, PupilLine

SHARED_COLUMNS = (
    "siecle_id", "family_name", "usage_name", "first_name", "other_first_names", "sex", "mef_code", "status_code",
    "boarding_code", "repeating", "school_number", "entry_date", "leaving_date", "leaving_reason", "previous_uai",
)  # fmt: skip
"""What a line says and a pupil's row keeps under the same name."""

# One import of a school at a time, whatever processes run. 0x5349 is "SI": the space of this lock among others.
LOCK_SCHOOL = "SELECT pg_advisory_xact_lock(21321, hashtext(current_database()))"
# Writers of pupils wait from here to the commit, so that the plan is still true when it is applied. Writers of records
# do not: what they take on a pupil's row does not conflict with this.
LOCK_PUPILS = "LOCK TABLE pupil IN SHARE ROW EXCLUSIVE MODE"

CREATE_INCOMING = """
CREATE TEMPORARY TABLE incoming (
    ordinal integer GENERATED ALWAYS AS IDENTITY,
    line integer,
    siecle_id text,
    ine text,
    ine_status text,
    all_ine text[],
    family_name text,
    usage_name text,
    first_name text,
    other_first_names text,
    birth_date date,
    sex text,
    mef_code text,
    status_code text,
    boarding_code text,
    repeating boolean,
    entry_date date,
    leaving_date date,
    leaving_reason text,
    previous_uai text,
    school_number text,
    rejection text,
    rejected_value text,
    warnings text[],
    warned_values text[]
) ON COMMIT DROP;
CREATE TEMPORARY TABLE incoming_division (line integer, siecle_id text, divisions text[]) ON COMMIT DROP;
CREATE TEMPORARY TABLE new_key (pupil_id uuid PRIMARY KEY, match_key text NOT NULL) ON COMMIT DROP;
"""
COPY_PUPILS = f"COPY incoming ({', '.join(PupilLine._fields)}) FROM STDIN"
COPY_DIVISIONS = f"COPY incoming_division ({', '.join(DivisionLine._fields)}) FROM STDIN"
COPY_KEYS = "COPY new_key (pupil_id, match_key) FROM STDIN"

# The same ELEVE_ID on several lines: copies of one line, or lines that differ.
_REPEATED = """
CREATE TEMPORARY TABLE repeated ON COMMIT DROP AS
WITH ids AS (
    SELECT siecle_id FROM incoming WHERE siecle_id IS NOT NULL GROUP BY siecle_id HAVING count(*) > 1
), contents AS (
    SELECT i.ordinal, i.siecle_id, md5((to_jsonb(i) - '{ordinal,line}'::text[])::text) AS content
    FROM incoming i JOIN ids USING (siecle_id)
)
SELECT ordinal, siecle_id,
    row_number() OVER (PARTITION BY siecle_id, content ORDER BY ordinal) > 1 AS is_copy,
    min(content) OVER (PARTITION BY siecle_id) <> max(content) OVER (PARTITION BY siecle_id) AS differs
FROM contents
"""
# The same INE on several lines, copies apart: for each of them the first such INE.
_SHARING = """
CREATE TEMPORARY TABLE sharing ON COMMIT DROP AS
WITH numbers AS (
    SELECT i.ordinal, n.ine FROM incoming i
    LEFT JOIN repeated r ON r.ordinal = i.ordinal
    CROSS JOIN unnest(i.all_ine) AS n (ine)
    WHERE r.is_copy IS NOT TRUE
), shared AS (
    SELECT ine FROM numbers GROUP BY ine HAVING count(*) > 1
)
SELECT n.ordinal, min(n.ine) AS ine FROM numbers n JOIN shared USING (ine) GROUP BY n.ordinal
"""
_LINES = """
CREATE TEMPORARY TABLE pupil_line ON COMMIT DROP AS
WITH placed AS (
    SELECT d.siecle_id, array_agg(DISTINCT c.division ORDER BY c.division) AS divisions
    FROM incoming_division d CROSS JOIN unnest(d.divisions) AS c (division)
    WHERE d.siecle_id IS NOT NULL
    GROUP BY d.siecle_id
)
SELECT i.*,
    coalesce(i.rejection, CASE WHEN r.differs THEN 'siecle_id_repeated' WHEN s.ine IS NOT NULL THEN 'ine_repeated' END)
        AS refused,
    CASE WHEN i.rejection IS NOT NULL THEN i.rejected_value WHEN r.differs THEN i.siecle_id ELSE s.ine END
        AS refused_value,
    coalesce(p.divisions, '{}') AS divisions,
    CASE WHEN cardinality(p.divisions) = 1 THEN p.divisions[1] END AS division,
    CASE
        WHEN i.leaving_date <= %(reference_date)s::date THEN 'left'
        WHEN p.divisions IS NOT NULL THEN 'present'
        ELSE 'not_arrived'
    END AS presence
FROM incoming i
LEFT JOIN repeated r ON r.ordinal = i.ordinal
LEFT JOIN sharing s ON s.ordinal = i.ordinal
LEFT JOIN placed p ON p.siecle_id = i.siecle_id
WHERE r.is_copy IS NOT TRUE
"""
_CREATE_MATCHED = """
CREATE TEMPORARY TABLE matched (ordinal integer PRIMARY KEY, pupil_id uuid NOT NULL UNIQUE) ON COMMIT DROP
"""
_BEST = """
best AS (
    SELECT DISTINCT ON (ordinal) ordinal, pupil_id, strength FROM candidate
    ORDER BY ordinal, strength, active DESC, created_at, pupil_id
)
INSERT INTO matched (ordinal, pupil_id)
SELECT DISTINCT ON (pupil_id) ordinal, pupil_id FROM best ORDER BY pupil_id, strength, ordinal
"""
_MATCH_BY_INE = f"""
WITH numbered AS (
    SELECT id, ine FROM pupil WHERE ine IS NOT NULL
    UNION
    SELECT pupil_id, ine FROM pupil_ine_alias
), candidate AS (
    SELECT l.ordinal, p.id AS pupil_id, p.active, p.created_at,
        CASE WHEN p.ine = l.ine THEN 0 ELSE 1 END AS strength
    FROM pupil_line l
    CROSS JOIN unnest(l.all_ine) AS n (ine)
    JOIN numbered k ON k.ine = n.ine
    JOIN pupil p ON p.id = k.id AND p.birth_date = l.birth_date
    WHERE l.refused IS NULL
), {_BEST}
"""
_MATCH_BY_SIECLE_ID = f"""
WITH candidate AS (
    SELECT l.ordinal, p.id AS pupil_id, p.active, p.created_at, 0 AS strength
    FROM pupil_line l
    JOIN pupil p ON p.siecle_id = l.siecle_id AND p.birth_date = l.birth_date
    WHERE l.refused IS NULL
        AND NOT EXISTS (SELECT FROM matched m WHERE m.ordinal = l.ordinal)
        AND NOT EXISTS (SELECT FROM matched m WHERE m.pupil_id = p.id)
), {_BEST}
"""


def _name_key(column: str) -> str:
    """`domain.plan.name_key` in SQL."""
    expanded = f"replace(replace(replace(replace({column}, 'œ', 'oe'), 'Œ', 'OE'), 'æ', 'ae'), 'Æ', 'AE')"
    return f"upper(regexp_replace(normalize({expanded}, NFD), '[^A-Za-z]', '', 'g'))"


_MATCH_BY_NAME = f"""
WITH fits AS (
    SELECT l.ordinal, p.id AS pupil_id
    FROM pupil_line l
    JOIN pupil p ON p.birth_date = l.birth_date
        AND {_name_key("p.family_name")} = {_name_key("l.family_name")} AND {_name_key("l.family_name")} <> ''
        AND {_name_key("p.first_name")} = {_name_key("l.first_name")} AND {_name_key("l.first_name")} <> ''
    WHERE l.refused IS NULL
        AND (l.ine IS NULL OR p.ine IS NULL)
        AND NOT EXISTS (SELECT FROM matched m WHERE m.ordinal = l.ordinal)
        AND NOT EXISTS (SELECT FROM matched m WHERE m.pupil_id = p.id)
), counted AS (
    SELECT *, count(*) OVER (PARTITION BY ordinal) AS pupils, count(*) OVER (PARTITION BY pupil_id) AS lines FROM fits
)
INSERT INTO matched (ordinal, pupil_id) SELECT ordinal, pupil_id FROM counted WHERE pupils = 1 AND lines = 1
"""
# An INE that another pupil keeps after this import. Who is matched to a line with an INE of its own lets go of the old.
_CONFLICTS = """
CREATE TEMPORARY TABLE conflict ON COMMIT DROP AS
SELECT DISTINCT l.ordinal
FROM pupil_line l
JOIN pupil p ON p.ine = l.ine
LEFT JOIN matched own ON own.ordinal = l.ordinal
LEFT JOIN matched theirs ON theirs.pupil_id = p.id
LEFT JOIN pupil_line other ON other.ordinal = theirs.ordinal
WHERE l.refused IS NULL
    AND p.id IS DISTINCT FROM own.pupil_id
    AND (other.ordinal IS NULL OR other.presence = 'not_arrived' OR other.ine_status = 'absent')
"""
_new_row = ", ".join([f"l.{column}" for column in SHARED_COLUMNS])
_old_row = ", ".join([f"p.{column}" for column in SHARED_COLUMNS])
_OUTCOMES = f"""
CREATE TEMPORARY TABLE outcome ON COMMIT DROP AS
WITH decided AS (
    SELECT l.*, p.id AS known_id, c.ordinal IS NOT NULL AS in_conflict,
        CASE WHEN c.ordinal IS NOT NULL THEN NULL WHEN l.ine_status = 'absent' THEN p.ine ELSE l.ine END AS ine_after,
        CASE
            WHEN c.ordinal IS NOT NULL THEN 'not_trusted'
            WHEN l.ine_status = 'absent' THEN coalesce(p.ine_status, 'absent')
            ELSE l.ine_status
        END AS ine_status_after
    FROM pupil_line l
    LEFT JOIN matched m ON m.ordinal = l.ordinal
    LEFT JOIN pupil p ON p.id = m.pupil_id
    LEFT JOIN conflict c ON c.ordinal = l.ordinal
    WHERE l.refused IS NULL AND (l.presence = 'present' OR (l.presence = 'left' AND p.id IS NOT NULL))
), protected AS (
    SELECT p.id FROM pupil p JOIN pupil_line l ON l.refused IS NOT NULL AND l.siecle_id = p.siecle_id
    UNION
    SELECT n.id
    FROM pupil_line l
    CROSS JOIN unnest(l.all_ine) AS named (ine)
    JOIN (SELECT id, ine FROM pupil UNION SELECT pupil_id, ine FROM pupil_ine_alias) n ON n.ine = named.ine
    WHERE l.refused IS NOT NULL
)
SELECT coalesce(p.id, gen_random_uuid()) AS pupil_id, l.ordinal,
    CASE
        WHEN p.id IS NULL THEN 'created'
        WHEN l.presence = 'present' AND NOT p.active THEN 'reactivated'
        WHEN l.presence = 'left' AND p.active THEN 'deactivated'
        ELSE 'kept'
    END AS kind,
    l.presence = 'present' AS active,
    l.ine_after AS ine, l.ine_status_after AS ine_status, l.in_conflict,
    p.ine AS old_ine, p.ine_status AS old_ine_status, p.match_key AS old_match_key, p.source AS old_source,
    p.id IS NOT NULL AND ROW({_new_row}, l.division, l.ine_after, l.ine_status_after, 'siecle')
        IS DISTINCT FROM ROW({_old_row}, p.division, p.ine, p.ine_status, p.source) AS differs,
    l.ine_status_after = 'trusted' AND (p.id IS NULL OR p.match_key NOT LIKE 'ine:%%'
        OR (l.ine_after, l.ine_status_after) IS DISTINCT FROM (p.ine, p.ine_status)) AS needs_key,
    CASE
        WHEN l.ine_status_after = 'trusted' THEN p.match_key
        WHEN p.match_key LIKE 'pupil:%%' THEN p.match_key
    END AS match_key
FROM decided l LEFT JOIN pupil p ON p.id = l.known_id
UNION ALL
SELECT p.id, NULL, 'deactivated', false, p.ine, p.ine_status, false, p.ine, p.ine_status, p.match_key, p.source,
    false, false, p.match_key
FROM pupil p
WHERE p.active AND p.source = 'siecle'
    AND NOT EXISTS (SELECT FROM matched m WHERE m.pupil_id = p.id)
    AND NOT EXISTS (SELECT FROM protected s WHERE s.id = p.id)
"""
# `kept` becomes `updated` or `unchanged`; who has no INE to trust goes by the key of the row, never joined.
_SETTLE_OUTCOMES = """
UPDATE outcome SET
    kind = CASE WHEN kind <> 'kept' THEN kind WHEN differs OR needs_key THEN 'updated' ELSE 'unchanged' END,
    match_key = CASE WHEN match_key IS NULL AND ine_status <> 'trusted'
        THEN 'pupil:' || %(uai)s || ':' || pupil_id ELSE match_key END
WHERE kind = 'kept' OR (match_key IS NULL AND ine_status <> 'trusted')
"""

PREPARE = (
    "ANALYZE incoming", "ANALYZE incoming_division", _REPEATED, _SHARING, _LINES, "ANALYZE pupil_line",
    _CREATE_MATCHED, _MATCH_BY_INE, "ANALYZE matched", _MATCH_BY_SIECLE_ID, _MATCH_BY_NAME, "ANALYZE matched",
    _CONFLICTS, _OUTCOMES, _SETTLE_OUTCOMES, "ANALYZE outcome",
)  # fmt: skip
"""From the received lines to the table `outcome`. Parameters: `reference_date`, `uai`."""

COUNTS = """
SELECT
    (SELECT count(*) FROM pupil WHERE active AND source = 'siecle') AS active_before,
    (SELECT count(*) FROM pupil_line WHERE refused IS NULL AND presence = 'present') AS present,
    count(*) FILTER (WHERE kind = 'created') AS created,
    count(*) FILTER (WHERE kind = 'updated') AS updated,
    count(*) FILTER (WHERE kind = 'deactivated') AS deactivated,
    count(*) FILTER (WHERE kind = 'reactivated') AS reactivated,
    count(*) FILTER (WHERE kind = 'unchanged') AS unchanged,
    (SELECT count(*) FROM pupil_line WHERE refused IS NULL AND presence = 'not_arrived') AS not_arrived,
    (SELECT count(*) FROM pupil_line l WHERE refused IS NULL AND presence = 'left'
        AND NOT EXISTS (SELECT FROM matched m WHERE m.ordinal = l.ordinal)) AS ignored,
    (SELECT count(*) FROM pupil_line WHERE refused IS NOT NULL) AS rejected
FROM outcome
"""
# What was shown is what is applied: every value that would be written, the ids of new pupils apart.
DIGEST = f"""
SELECT encode(sha256(convert_to(coalesce(string_agg(row, E'\\n' ORDER BY row), ''), 'UTF8')), 'hex')
FROM (
    SELECT md5(ROW(o.kind, CASE WHEN o.kind <> 'created' THEN o.pupil_id END, o.ine, o.ine_status, o.active,
        l.birth_date, l.division, {_new_row})::text) AS row
    FROM outcome o LEFT JOIN pupil_line l ON l.ordinal = o.ordinal
    WHERE o.kind <> 'unchanged'
) AS written
"""

FORGET = (
    "DELETE FROM siecle_import_finding WHERE import_id = %(import_id)s OR created_at < %(kept_since)s",
    "DELETE FROM siecle_import_change WHERE import_id = %(import_id)s OR created_at < %(kept_since)s",
)
RECORD_FINDINGS = """
WITH finding AS (
    SELECT 'rejection' AS severity, refused AS code, line, siecle_id, family_name, first_name, ine,
        refused_value AS found
    FROM pupil_line WHERE refused IS NOT NULL
    UNION ALL
    SELECT 'warning', w.code, l.line, l.siecle_id, l.family_name, l.first_name, l.ine, nullif(w.found, '')
    FROM pupil_line l CROSS JOIN unnest(l.warnings, l.warned_values) AS w (code, found)
    WHERE l.refused IS NULL AND (l.presence <> 'left' OR EXISTS (SELECT FROM matched m WHERE m.ordinal = l.ordinal))
    UNION ALL
    SELECT 'warning', 'repeated_line', i.line, i.siecle_id, i.family_name, i.first_name, i.ine, i.siecle_id
    FROM incoming i JOIN repeated r ON r.ordinal = i.ordinal WHERE r.is_copy
    UNION ALL
    SELECT 'warning', 'two_divisions', line, siecle_id, family_name, first_name, ine, array_to_string(divisions, ', ')
    FROM pupil_line WHERE refused IS NULL AND cardinality(divisions) > 1 AND presence = 'present'
    UNION ALL
    SELECT 'warning', 'ine_held_by_another', l.line, l.siecle_id, l.family_name, l.first_name, l.ine, l.ine
    FROM outcome o JOIN pupil_line l ON l.ordinal = o.ordinal WHERE o.in_conflict
    UNION ALL
    SELECT 'warning', 'not_arrived', line, siecle_id, family_name, first_name, ine, NULL
    FROM pupil_line WHERE refused IS NULL AND presence = 'not_arrived'
    UNION ALL
    SELECT 'warning', 'structures_of_unknown_pupil', d.line, d.siecle_id, NULL, NULL, NULL, d.siecle_id
    FROM incoming_division d
    WHERE NOT EXISTS (SELECT FROM incoming i WHERE i.siecle_id = d.siecle_id)
), recorded AS (
    INSERT INTO siecle_import_finding
        (import_id, ordinal, severity, code, line, siecle_id, family_name, first_name, ine, found, created_at)
    SELECT %(import_id)s, row_number() OVER (ORDER BY line, code), severity, code, line, siecle_id, family_name,
        first_name, ine, found, %(now)s
    FROM finding
    RETURNING severity
)
SELECT count(*) FILTER (WHERE severity = 'warning') FROM recorded
"""
_shown = (*SHARED_COLUMNS, "division", "ine")
_old_values = ", ".join(f"'{column}', p.{column}" for column in _shown)
_new_values = ", ".join(f"'{column}', {'o' if column == 'ine' else 'l'}.{column}" for column in _shown)
RECORD_CHANGES = f"""
WITH changed AS (
    SELECT o.kind, o.ordinal, CASE WHEN o.kind <> 'created' THEN o.pupil_id END AS pupil_id,
        coalesce(l.siecle_id, p.siecle_id) AS siecle_id, coalesce(l.family_name, p.family_name) AS family_name,
        coalesce(l.first_name, p.first_name) AS first_name, coalesce(l.birth_date, p.birth_date) AS birth_date,
        CASE WHEN l.ordinal IS NULL THEN p.division ELSE l.division END AS division,
        CASE WHEN o.kind = 'deactivated' THEN CASE WHEN l.ordinal IS NULL THEN 'absent' ELSE 'left' END END AS reason,
        CASE WHEN o.kind = 'updated' THEN jsonb_build_object({_old_values}) END AS old,
        CASE WHEN o.kind = 'updated' THEN jsonb_build_object({_new_values}) END AS new
    FROM outcome o
    LEFT JOIN pupil_line l ON l.ordinal = o.ordinal
    LEFT JOIN pupil p ON p.id = o.pupil_id
    WHERE o.kind <> 'unchanged'
)
INSERT INTO siecle_import_change (import_id, ordinal, kind, pupil_id, siecle_id, family_name, first_name, birth_date,
    division, reason, before, after, created_at)
SELECT %(import_id)s, row_number() OVER (ORDER BY kind, family_name, first_name, siecle_id), kind, pupil_id, siecle_id,
    family_name, first_name, birth_date, division, reason, differing.before, differing.after, %(now)s
FROM changed
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(was.key, was.value) AS before, jsonb_object_agg(was.key, changed.new -> was.key) AS after
    FROM jsonb_each(changed.old) AS was WHERE was.value IS DISTINCT FROM changed.new -> was.key
) AS differing ON true
"""

# Keys are pseudonyms made with a secret that no database holds: only the numbers that need one leave for a moment.
NUMBERS_WITHOUT_KEY = "SELECT pupil_id, ine FROM outcome WHERE needs_key"
CREATE_EVENTS = """
CREATE TEMPORARY TABLE event (
    position integer GENERATED ALWAYS AS IDENTITY,
    type text NOT NULL,
    match_key text NOT NULL,
    pupil_id uuid NOT NULL,
    revision bigint NOT NULL,
    source text NOT NULL,
    ine_status text NOT NULL,
    left_on date
) ON COMMIT DROP;
CREATE TEMPORARY TABLE settled ON COMMIT DROP AS
SELECT o.pupil_id, o.ordinal, o.kind, o.active, o.ine, o.ine_status, o.old_ine, o.old_ine_status, o.old_match_key,
    o.old_source, o.in_conflict, coalesce(k.match_key, o.match_key) AS match_key
FROM outcome o LEFT JOIN new_key k ON k.pupil_id = o.pupil_id
WHERE o.kind <> 'unchanged';
ANALYZE settled;
"""
# Withdrawals take the lower revisions: under one key the pupil who gets an INE comes after the one who loses it.
WITHDRAWALS = """
INSERT INTO event (type, match_key, pupil_id, revision, source, ine_status)
SELECT 'withdrawn', old_match_key, pupil_id, nextval('pupil_revision'), old_source, old_ine_status
FROM (SELECT * FROM settled WHERE old_match_key <> match_key ORDER BY ordinal) AS withdrawn
"""
STATES = """
INSERT INTO event (type, match_key, pupil_id, revision, source, ine_status, left_on)
SELECT CASE
        WHEN NOT active THEN 'deactivated'
        WHEN kind = 'reactivated' AND old_match_key = match_key AND old_source = 'siecle' THEN 'reactivated'
        ELSE 'created'
    END, match_key, pupil_id, nextval('pupil_revision'), 'siecle', ine_status,
    CASE WHEN NOT active THEN leaving_date END
FROM (
    SELECT s.*, l.leaving_date FROM settled s LEFT JOIN pupil_line l ON l.ordinal = s.ordinal
    WHERE s.kind <> 'updated' OR s.old_match_key <> s.match_key OR s.old_source <> 'siecle'
    ORDER BY s.ordinal
) AS changed
"""
READ_EVENTS = """
SELECT type, match_key, pupil_id, revision, source, ine_status, left_on FROM event ORDER BY position
"""
_columns = ", ".join(SHARED_COLUMNS)
_assignments = ", ".join(f"{column} = l.{column}" for column in SHARED_COLUMNS)
_CREATE_PUPILS = f"""
INSERT INTO pupil (id, {_columns}, birth_date, division, ine, ine_status, source, active, match_key, revision,
    state_changed_at, last_import_id, created_at, updated_at)
SELECT s.pupil_id, {_new_row}, l.birth_date, l.division, s.ine, s.ine_status, 'siecle', true, s.match_key, e.revision,
    %(now)s, %(import_id)s, %(now)s, %(now)s
FROM settled s
JOIN pupil_line l ON l.ordinal = s.ordinal
JOIN event e ON e.pupil_id = s.pupil_id AND e.type <> 'withdrawn'
WHERE s.kind = 'created'
"""
_UPDATE_PUPILS = f"""
UPDATE pupil p SET {_assignments}, division = l.division, ine = s.ine, ine_status = s.ine_status, source = 'siecle',
    active = s.active, match_key = s.match_key, revision = coalesce(e.revision, p.revision),
    state_changed_at = CASE WHEN e.revision IS NULL THEN p.state_changed_at ELSE %(now)s END,
    last_import_id = %(import_id)s, updated_at = %(now)s
FROM settled s
JOIN pupil_line l ON l.ordinal = s.ordinal
LEFT JOIN event e ON e.pupil_id = s.pupil_id AND e.type <> 'withdrawn'
WHERE p.id = s.pupil_id AND s.kind <> 'created'
"""
# Who is no longer in the file keeps all that is known of them.
_DEACTIVATE_ABSENT = """
UPDATE pupil p SET active = false, revision = e.revision, state_changed_at = %(now)s, last_import_id = %(import_id)s,
    updated_at = %(now)s
FROM settled s JOIN event e ON e.pupil_id = s.pupil_id
WHERE p.id = s.pupil_id AND s.ordinal IS NULL
"""
_KEEP_ALIASES = """
INSERT INTO pupil_ine_alias (pupil_id, ine)
SELECT DISTINCT o.pupil_id, n.ine
FROM outcome o
JOIN pupil_line l ON l.ordinal = o.ordinal
CROSS JOIN unnest(l.all_ine || o.old_ine) AS n (ine)
WHERE NOT o.in_conflict AND n.ine IS NOT NULL
    AND NOT EXISTS (SELECT FROM pupil_ine_alias a WHERE a.pupil_id = o.pupil_id AND a.ine = n.ine)
"""
APPLY = (_CREATE_PUPILS, _UPDATE_PUPILS, _DEACTIVATE_ABSENT, _KEEP_ALIASES)
"""Parameters: `import_id`, `now`."""

NOTE_APPLIED = """
INSERT INTO siecle_import_applied (import_id, school_year, exported_at, reference_date, file_sha256, plan_digest,
    confirmed_by, applied_at, present, created, updated, deactivated, reactivated, unchanged, not_arrived, ignored,
    rejected, warnings)
VALUES (%(import_id)s, %(school_year)s, %(exported_at)s, %(reference_date)s, %(file_sha256)s, %(plan_digest)s,
    %(confirmed_by)s, %(now)s, %(present)s, %(created)s, %(updated)s, %(deactivated)s, %(reactivated)s, %(unchanged)s,
    %(not_arrived)s, %(ignored)s, %(rejected)s, %(warnings)s)
"""
FIND_APPLIED = """
SELECT school_year, exported_at, reference_date, plan_digest, present, created, updated, deactivated, reactivated,
    unchanged, not_arrived, ignored, rejected, warnings
FROM siecle_import_applied WHERE import_id = %s
"""
LAST_APPLIED = """
SELECT exported_at, reference_date FROM siecle_import_applied
ORDER BY applied_at DESC LIMIT 1
"""
IS_FIRST_OF_SCHOOL_YEAR = "SELECT NOT EXISTS (SELECT FROM siecle_import_applied WHERE school_year = %s)"
