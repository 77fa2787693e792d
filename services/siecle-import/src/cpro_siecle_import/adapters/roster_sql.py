"""All SQL that an import runs in an establishment's database, in the order in which it runs.

The same rules as `domain/plan.py`, which is their specification: a property test holds the two together. Everything
works on temporary tables that end with the transaction; only the statements of `APPLY` write to lasting ones.
"""

from cpro_platform import outbox
from cpro_siecle_import.domain.lines import PupilLine

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

# The tables of an import live for a moment, so what the planner knows of them is little, and of a school's first import
# less: whatever it guesses, everything here is about whole tables and wants hash joins, in memory. (One guess of "a
# single row" made a nested loop of 226 s out of 0.1 s.) Compiling queries that run once costs more than it saves.
SETTINGS = """
SET LOCAL enable_nestloop = off; SET LOCAL work_mem = '64MB'; SET LOCAL default_statistics_target = 10;
SET LOCAL jit = off
"""

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
    warned_values text[],
    match_key text
) ON COMMIT DROP;
CREATE TEMPORARY TABLE incoming_division (line integer, siecle_id text, division text) ON COMMIT DROP;
"""
COPY_PUPILS = f"COPY incoming ({', '.join((*PupilLine._fields, 'match_key'))}) FROM STDIN"
"""A line, and the match key of its INE where that can be trusted."""
COPY_DIVISIONS = "COPY incoming_division (line, siecle_id, division) FROM STDIN"
"""A row for each division that a line gives to a pupil; one without a division where it gives none."""

# Where the file puts each pupil: several rows of one pupil are one, unless they differ.
_PLACED = """
CREATE TEMPORARY TABLE placed ON COMMIT DROP AS
SELECT siecle_id, min(division) AS first_division, max(division) AS last_division
FROM incoming_division WHERE siecle_id IS NOT NULL AND division IS NOT NULL
GROUP BY siecle_id
"""
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
# An INE that several pupils of the establishment have: nothing is taken for certain by it.
_NUMBERS_HELD_TWICE = """
CREATE TEMPORARY TABLE number_held_twice ON COMMIT DROP AS
SELECT ine FROM pupil WHERE ine IS NOT NULL GROUP BY ine HAVING count(*) > 1
"""
_CREATE_MATCHED = """
CREATE TEMPORARY TABLE matched (ordinal integer PRIMARY KEY, pupil_id uuid NOT NULL UNIQUE, unchanged boolean NOT NULL)
ON COMMIT DROP
"""
_same = " AND ".join([f"p.{column} IS NOT DISTINCT FROM i.{column}" for column in SHARED_COLUMNS])
# Most lines of most files: the pupil is certain, nothing is to be said of the line, and every value is as before. They
# are settled here, and nothing below looks at them again. Only what the general rules would do anyway is done sooner: a
# trusted INE that nobody else has, in the file or here, with its birth date, is the strongest claim there is.
_MATCH_UNCHANGED = f"""
INSERT INTO matched (ordinal, pupil_id, unchanged)
SELECT i.ordinal, p.id, true
FROM incoming i
JOIN placed d ON d.siecle_id = i.siecle_id AND d.first_division = d.last_division
JOIN pupil p ON p.ine = i.ine AND p.birth_date = i.birth_date
WHERE i.rejection IS NULL AND i.warnings = '{{}}' AND i.ine_status = 'trusted' AND cardinality(i.all_ine) = 1
    AND (i.leaving_date IS NULL OR i.leaving_date > %(reference_date)s::date)
    AND p.active AND p.source = 'siecle' AND p.ine_status = 'trusted' AND p.match_key LIKE 'ine:%%'
    AND p.division IS NOT DISTINCT FROM d.first_division AND {_same}
    AND NOT EXISTS (SELECT FROM repeated r WHERE r.ordinal = i.ordinal)
    AND NOT EXISTS (SELECT FROM sharing s WHERE s.ordinal = i.ordinal)
    AND NOT EXISTS (SELECT FROM number_held_twice h WHERE h.ine = i.ine)
"""
_LINES = """
CREATE TEMPORARY TABLE pupil_line ON COMMIT DROP AS
SELECT i.*,
    coalesce(i.rejection, CASE WHEN r.differs THEN 'siecle_id_repeated' WHEN s.ine IS NOT NULL THEN 'ine_repeated' END)
        AS refused,
    CASE WHEN i.rejection IS NOT NULL THEN i.rejected_value WHEN r.differs THEN i.siecle_id ELSE s.ine END
        AS refused_value,
    CASE WHEN p.first_division = p.last_division THEN p.first_division END AS division,
    p.first_division <> p.last_division AS in_several_divisions,
    CASE
        WHEN i.leaving_date <= %(reference_date)s::date THEN 'left'
        WHEN p.siecle_id IS NOT NULL THEN 'present'
        ELSE 'not_arrived'
    END AS presence
FROM incoming i
LEFT JOIN matched m ON m.ordinal = i.ordinal
LEFT JOIN repeated r ON r.ordinal = i.ordinal
LEFT JOIN sharing s ON s.ordinal = i.ordinal
LEFT JOIN placed p ON p.siecle_id = i.siecle_id
WHERE r.is_copy IS NOT TRUE AND m.ordinal IS NULL
"""
_BEST = """
best AS (
    SELECT DISTINCT ON (ordinal) ordinal, pupil_id, strength FROM candidate
    ORDER BY ordinal, strength, active DESC, created_at, pupil_id
)
INSERT INTO matched (ordinal, pupil_id, unchanged)
SELECT DISTINCT ON (pupil_id) ordinal, pupil_id, false
FROM best WHERE NOT EXISTS (SELECT FROM matched m WHERE m.pupil_id = best.pupil_id)
ORDER BY pupil_id, strength, ordinal
"""
_MATCH_BY_INE = f"""
WITH named AS (
    SELECT l.ordinal, l.birth_date, l.ine AS first_ine, n.ine
    FROM pupil_line l CROSS JOIN unnest(l.all_ine) AS n (ine)
    WHERE l.refused IS NULL
), candidate AS (
    SELECT n.ordinal, p.id AS pupil_id, p.active, p.created_at,
        CASE WHEN p.ine = n.first_ine THEN 0 ELSE 1 END AS strength
    FROM named n JOIN pupil p ON p.ine = n.ine AND p.birth_date = n.birth_date
    UNION ALL
    SELECT n.ordinal, p.id, p.active, p.created_at, CASE WHEN p.ine = n.first_ine THEN 0 ELSE 1 END
    FROM named n
    JOIN pupil_ine_alias a ON a.ine = n.ine
    JOIN pupil p ON p.id = a.pupil_id AND p.birth_date = n.birth_date
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


# The names of those alone who are nobody yet: making the keys of all would cost more than everything else.
_MATCH_BY_NAME = f"""
WITH line AS MATERIALIZED (
    SELECT l.ordinal, l.ine, l.birth_date, {_name_key("l.family_name")} AS family_name,
        {_name_key("l.first_name")} AS first_name
    FROM pupil_line l
    WHERE l.refused IS NULL AND NOT EXISTS (SELECT FROM matched m WHERE m.ordinal = l.ordinal)
), free AS MATERIALIZED (
    SELECT p.id, p.ine, p.birth_date, {_name_key("p.family_name")} AS family_name,
        {_name_key("p.first_name")} AS first_name
    FROM pupil p
    WHERE NOT EXISTS (SELECT FROM matched m WHERE m.pupil_id = p.id)
        AND EXISTS (SELECT FROM line)
), fits AS (
    SELECT l.ordinal, p.id AS pupil_id
    FROM line l JOIN free p USING (birth_date, family_name, first_name)
    WHERE l.family_name <> '' AND l.first_name <> '' AND (l.ine IS NULL OR p.ine IS NULL)
), counted AS (
    SELECT *, count(*) OVER (PARTITION BY ordinal) AS pupils, count(*) OVER (PARTITION BY pupil_id) AS lines FROM fits
)
INSERT INTO matched (ordinal, pupil_id, unchanged)
SELECT ordinal, pupil_id, false FROM counted WHERE pupils = 1 AND lines = 1
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
    AND theirs.unchanged IS NOT TRUE -- that line has this very INE: both would have been refused
    AND (other.ordinal IS NULL OR other.presence = 'not_arrived' OR other.ine_status = 'absent')
"""
_new_row = ", ".join([f"l.{column}" for column in SHARED_COLUMNS])
_old_row = ", ".join([f"p.{column}" for column in SHARED_COLUMNS])
_CREATE_OUTCOME = """
CREATE TEMPORARY TABLE outcome (
    pupil_id uuid NOT NULL,
    ordinal integer,
    kind text NOT NULL,
    active boolean NOT NULL,
    ine text,
    ine_status text NOT NULL,
    match_key text NOT NULL,
    in_conflict boolean NOT NULL,
    old_ine text,
    old_ine_status text,
    old_match_key text,
    old_source text
) ON COMMIT DROP
"""
# Who has no INE to trust goes by the key of the row, never joined.
_NEW_PUPILS = """
INSERT INTO outcome (pupil_id, ordinal, kind, active, ine, ine_status, match_key, in_conflict)
SELECT id, ordinal, 'created', true, ine, ine_status,
    CASE WHEN ine_status = 'trusted' THEN match_key ELSE 'pupil:' || %(uai)s || ':' || id END, in_conflict
FROM (
    SELECT gen_random_uuid() AS id, l.ordinal, l.match_key, c.ordinal IS NOT NULL AS in_conflict,
        CASE WHEN c.ordinal IS NULL THEN l.ine END AS ine,
        CASE WHEN c.ordinal IS NULL THEN l.ine_status ELSE 'not_trusted' END AS ine_status
    FROM pupil_line l LEFT JOIN conflict c ON c.ordinal = l.ordinal
    WHERE l.refused IS NULL AND l.presence = 'present'
        AND NOT EXISTS (SELECT FROM matched m WHERE m.ordinal = l.ordinal)
) AS new
"""
# A match key is made anew only with the INE: pupils keep theirs when the secret has a new version, until a replay.
_KNOWN_PUPILS = f"""
INSERT INTO outcome (pupil_id, ordinal, kind, active, ine, ine_status, match_key, in_conflict, old_ine, old_ine_status,
    old_match_key, old_source)
WITH decided AS (
    SELECT l.*, p.id AS known_id, c.ordinal IS NOT NULL AS in_conflict,
        CASE WHEN c.ordinal IS NOT NULL THEN NULL WHEN l.ine_status = 'absent' THEN p.ine ELSE l.ine END AS ine_after,
        CASE
            WHEN c.ordinal IS NOT NULL THEN 'not_trusted'
            WHEN l.ine_status = 'absent' THEN p.ine_status
            ELSE l.ine_status
        END AS ine_status_after
    FROM pupil_line l
    JOIN matched m ON m.ordinal = l.ordinal
    JOIN pupil p ON p.id = m.pupil_id
    LEFT JOIN conflict c ON c.ordinal = l.ordinal
    WHERE l.refused IS NULL AND l.presence <> 'not_arrived'
), keyed AS (
    SELECT l.*,
        CASE
            WHEN l.ine_status_after <> 'trusted'
                THEN CASE WHEN p.match_key LIKE 'pupil:%%' THEN p.match_key ELSE 'pupil:' || %(uai)s || ':' || p.id END
            WHEN p.match_key LIKE 'ine:%%'
                AND (l.ine_after, l.ine_status_after) IS NOT DISTINCT FROM (p.ine, p.ine_status) THEN p.match_key
            ELSE l.match_key
        END AS match_key_after
    FROM decided l JOIN pupil p ON p.id = l.known_id
)
SELECT p.id, l.ordinal,
    CASE
        WHEN l.presence = 'present' AND NOT p.active THEN 'reactivated'
        WHEN l.presence = 'left' AND p.active THEN 'deactivated'
        WHEN ROW({_new_row}, l.division, l.ine_after, l.ine_status_after, l.match_key_after, 'siecle')
            IS DISTINCT FROM ROW({_old_row}, p.division, p.ine, p.ine_status, p.match_key, p.source) THEN 'updated'
        ELSE 'unchanged'
    END,
    l.presence = 'present', l.ine_after, l.ine_status_after, l.match_key_after, l.in_conflict,
    p.ine, p.ine_status, p.match_key, p.source
FROM keyed l JOIN pupil p ON p.id = l.known_id
"""
# A rejected line protects the pupil whom it names, by ELEVE_ID or INE.
_ABSENT_PUPILS = """
INSERT INTO outcome (pupil_id, ordinal, kind, active, ine, ine_status, match_key, in_conflict, old_ine, old_ine_status,
    old_match_key, old_source)
WITH protected AS (
    SELECT p.id FROM pupil p JOIN pupil_line l ON l.refused IS NOT NULL AND l.siecle_id = p.siecle_id
    UNION
    SELECT n.id
    FROM pupil_line l
    CROSS JOIN unnest(l.all_ine) AS named (ine)
    JOIN (SELECT id, ine FROM pupil UNION ALL SELECT pupil_id, ine FROM pupil_ine_alias) n ON n.ine = named.ine
    WHERE l.refused IS NOT NULL
)
SELECT p.id, NULL, 'deactivated', false, p.ine, p.ine_status, p.match_key, false, p.ine, p.ine_status, p.match_key,
    p.source
FROM pupil p
WHERE p.active AND p.source = 'siecle'
    AND NOT EXISTS (SELECT FROM matched m WHERE m.pupil_id = p.id)
    AND NOT EXISTS (SELECT FROM protected s WHERE s.id = p.id)
"""

PREPARE = (
    "ANALYZE incoming (ordinal, siecle_id, ine)", _PLACED, "ANALYZE placed", _REPEATED, _SHARING, _NUMBERS_HELD_TWICE,
    _CREATE_MATCHED, _MATCH_UNCHANGED, "ANALYZE matched", _LINES, "ANALYZE pupil_line (ordinal, siecle_id, ine)",
    _MATCH_BY_INE, "ANALYZE matched", _MATCH_BY_SIECLE_ID, _MATCH_BY_NAME, "ANALYZE matched",
    _CONFLICTS, _CREATE_OUTCOME, _NEW_PUPILS, _KNOWN_PUPILS, _ABSENT_PUPILS, "ANALYZE outcome",
)  # fmt: skip
"""From the received lines to the tables `matched` and `outcome`. Parameters: `reference_date`, `uai`.

`outcome` has every pupil but those whom `matched` calls unchanged.
"""

COUNTS = """
SELECT
    (SELECT count(*) FROM pupil WHERE active AND source = 'siecle') AS active_before,
    (SELECT count(*) FROM pupil_line WHERE refused IS NULL AND presence = 'present') + settled.pupils AS present,
    count(*) FILTER (WHERE kind = 'created') AS created,
    count(*) FILTER (WHERE kind = 'updated') AS updated,
    count(*) FILTER (WHERE kind = 'deactivated') AS deactivated,
    count(*) FILTER (WHERE kind = 'reactivated') AS reactivated,
    count(*) FILTER (WHERE kind = 'unchanged') + settled.pupils AS unchanged,
    (SELECT count(*) FROM pupil_line WHERE refused IS NULL AND presence = 'not_arrived') AS not_arrived,
    (SELECT count(*) FROM pupil_line l WHERE refused IS NULL AND presence = 'left'
        AND NOT EXISTS (SELECT FROM matched m WHERE m.ordinal = l.ordinal)) AS ignored,
    (SELECT count(*) FROM pupil_line WHERE refused IS NOT NULL) AS rejected
FROM (SELECT count(*) AS pupils FROM matched WHERE unchanged) AS settled LEFT JOIN outcome ON true
GROUP BY settled.pupils
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
    SELECT 'warning', 'two_divisions', line, siecle_id, family_name, first_name, ine,
        (SELECT string_agg(DISTINCT d.division, ', ') FROM incoming_division d WHERE d.siecle_id = l.siecle_id)
    FROM pupil_line l WHERE refused IS NULL AND in_several_divisions AND presence = 'present'
    UNION ALL
    SELECT 'warning', 'ine_held_by_another', l.line, l.siecle_id, l.family_name, l.first_name, l.ine, l.ine
    FROM outcome o JOIN pupil_line l ON l.ordinal = o.ordinal WHERE o.in_conflict
    UNION ALL
    SELECT 'warning', 'not_arrived', line, siecle_id, family_name, first_name, ine, NULL
    FROM pupil_line WHERE refused IS NULL AND presence = 'not_arrived'
    UNION ALL
    SELECT DISTINCT 'warning', 'structures_of_unknown_pupil', d.line, d.siecle_id, NULL, NULL, NULL, d.siecle_id
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
    SELECT o.kind, o.ordinal, CASE WHEN o.kind <> 'created' OR %(applying)s THEN o.pupil_id END AS pupil_id,
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

_CREATE_EVENT = """
CREATE TEMPORARY TABLE event (
    position integer GENERATED ALWAYS AS IDENTITY,
    type text NOT NULL,
    match_key text NOT NULL,
    pupil_id uuid NOT NULL,
    revision bigint NOT NULL,
    source text NOT NULL,
    ine_status text NOT NULL,
    left_on date
) ON COMMIT DROP
"""
# Withdrawals take the lower revisions: under one key the pupil who gets an INE comes after the one who loses it.
_WITHDRAWALS = """
INSERT INTO event (type, match_key, pupil_id, revision, source, ine_status)
SELECT 'withdrawn', old_match_key, pupil_id, nextval('pupil_revision'), old_source, old_ine_status
FROM (SELECT * FROM outcome WHERE old_match_key <> match_key ORDER BY ordinal) AS withdrawn
"""
_STATES = """
INSERT INTO event (type, match_key, pupil_id, revision, source, ine_status, left_on)
SELECT CASE
        WHEN NOT active THEN 'deactivated'
        WHEN kind = 'reactivated' AND old_match_key = match_key AND old_source = 'siecle' THEN 'reactivated'
        ELSE 'created'
    END, match_key, pupil_id, nextval('pupil_revision'), 'siecle', ine_status,
    CASE WHEN NOT active THEN leaving_date END
FROM (
    SELECT o.*, l.leaving_date FROM outcome o LEFT JOIN pupil_line l ON l.ordinal = o.ordinal
    WHERE o.kind <> 'unchanged' AND (o.kind <> 'updated' OR o.old_match_key <> o.match_key OR o.old_source <> 'siecle')
    ORDER BY o.ordinal
) AS changed
"""
_columns = ", ".join(SHARED_COLUMNS)
_assignments = ", ".join(f"{column} = l.{column}" for column in SHARED_COLUMNS)
_CREATE_PUPILS = f"""
INSERT INTO pupil (id, {_columns}, birth_date, division, ine, ine_status, source, active, match_key, revision,
    state_changed_at, last_import_id, created_at, updated_at)
SELECT s.pupil_id, {_new_row}, l.birth_date, l.division, s.ine, s.ine_status, 'siecle', true, s.match_key, e.revision,
    %(now)s, %(import_id)s, %(now)s, %(now)s
FROM outcome s
JOIN pupil_line l ON l.ordinal = s.ordinal
JOIN event e ON e.pupil_id = s.pupil_id AND e.type <> 'withdrawn'
WHERE s.kind = 'created'
"""
_UPDATE_PUPILS = f"""
UPDATE pupil p SET {_assignments}, division = l.division, ine = s.ine, ine_status = s.ine_status, source = 'siecle',
    active = s.active, match_key = s.match_key, revision = coalesce(e.revision, p.revision),
    state_changed_at = CASE WHEN e.revision IS NULL THEN p.state_changed_at ELSE %(now)s END,
    last_import_id = %(import_id)s, updated_at = %(now)s
FROM outcome s
JOIN pupil_line l ON l.ordinal = s.ordinal
LEFT JOIN event e ON e.pupil_id = s.pupil_id AND e.type <> 'withdrawn'
WHERE p.id = s.pupil_id AND s.kind NOT IN ('created', 'unchanged')
"""
# Who is no longer in the file keeps all that is known of them.
_DEACTIVATE_ABSENT = """
UPDATE pupil p SET active = false, revision = e.revision, state_changed_at = %(now)s, last_import_id = %(import_id)s,
    updated_at = %(now)s
FROM outcome s JOIN event e ON e.pupil_id = s.pupil_id
WHERE p.id = s.pupil_id AND s.ordinal IS NULL
"""
# The numbers that a pupil has besides the one in their own row: other ones of the file, and the one they had before.
_KEEP_ALIASES = """
INSERT INTO pupil_ine_alias (pupil_id, ine)
SELECT DISTINCT o.pupil_id, n.ine
FROM outcome o
JOIN pupil_line l ON l.ordinal = o.ordinal
CROSS JOIN unnest(l.all_ine || o.old_ine) AS n (ine)
WHERE NOT o.in_conflict AND n.ine <> coalesce(o.ine, '')
ON CONFLICT DO NOTHING
"""
# The same body as the contract's models give: what is read from the topic is checked against them.
_WRITE_OUTBOX = f"""
INSERT INTO outbox ({outbox.COLUMNS})
SELECT %(topic)s, e.match_key, %(types)s::jsonb ->> e.type, %(source)s, %(uai)s, %(now)s,
    jsonb_build_object('match_key', e.match_key, 'uai', %(uai)s::text, 'pupil_id', e.pupil_id, 'revision', e.revision,
        'occurred_at', %(occurred_at)s::text, 'source', e.source, 'ine_status', e.ine_status,
        'import_id', %(import_id)s::uuid)
        || CASE WHEN e.type = 'deactivated' THEN
            jsonb_build_object('left_at', to_char(e.left_on, 'YYYY-MM-DD"T00:00:00Z"')) ELSE '{{}}' END,
    %(traceparent)s
FROM event e ORDER BY e.position
"""
APPLY = (
    _CREATE_EVENT, _WITHDRAWALS, _STATES, "ANALYZE event (pupil_id)",
    _CREATE_PUPILS, _UPDATE_PUPILS, _DEACTIVATE_ABSENT, _KEEP_ALIASES, _WRITE_OUTBOX,
)  # fmt: skip
"""Parameters: `import_id`, `now`, and those of the events: `topic`, `types` (by our short names), `source`, `uai`,
`occurred_at` (as it is written in JSON), `traceparent`."""

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
