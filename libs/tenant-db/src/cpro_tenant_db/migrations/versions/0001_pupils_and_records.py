"""Pupils, their records, and what an establishment keeps for its transfers.

Revision ID: 0001
Revises:
"""

from alembic import op

from cpro_platform import outbox

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PUPILS = """
CREATE SEQUENCE pupil_revision;
COMMENT ON SEQUENCE pupil_revision IS 'Every change of a pupil''s state, or of the opt-in, takes the next value';

CREATE TABLE pupil (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    siecle_id text,
    ine text,
    ine_status text NOT NULL DEFAULT 'absent' CHECK (ine_status IN ('trusted', 'absent', 'not_trusted')),
    family_name text NOT NULL,
    usage_name text,
    first_name text NOT NULL,
    other_first_names text,
    birth_date date NOT NULL,
    sex text CHECK (sex IN ('male', 'female')),
    division text,
    mef_code text,
    status_code text,
    boarding_code text,
    repeating boolean,
    school_number text,
    entry_date date,
    leaving_date date,
    leaving_reason text,
    previous_uai text,
    source text NOT NULL CHECK (source IN ('siecle', 'manual')),
    active boolean NOT NULL DEFAULT true,
    match_key text NOT NULL,
    revision bigint NOT NULL DEFAULT nextval('pupil_revision'),
    state_changed_at timestamptz NOT NULL DEFAULT now(),
    last_import_id uuid,
    records_moved_at timestamptz,
    records_moved_to text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (ine IS NOT NULL OR ine_status <> 'trusted'),
    -- Deferred: one import may exchange the numbers of two pupils. The INE itself is not unique: a wrong one that the
    -- file gives to two pupils is kept as it was written, and trusted for none.
    CONSTRAINT pupil_match_key_key UNIQUE (match_key) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX pupil_ine ON pupil (ine);
CREATE INDEX pupil_siecle_id ON pupil (siecle_id);
CREATE INDEX pupil_identity ON pupil (birth_date, family_name);
CREATE INDEX pupil_inactive ON pupil (family_name, first_name, id) WHERE NOT active;

CREATE TABLE pupil_ine_alias (
    pupil_id uuid NOT NULL REFERENCES pupil,
    ine text NOT NULL,
    PRIMARY KEY (pupil_id, ine)
);
CREATE INDEX pupil_ine_alias_ine ON pupil_ine_alias (ine);
"""

RECORDS = """
CREATE TABLE report (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    pupil_id uuid NOT NULL REFERENCES pupil,
    title text NOT NULL,
    period text,
    content jsonb NOT NULL DEFAULT '{}',
    author text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE activity_sheet (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    pupil_id uuid NOT NULL REFERENCES pupil,
    title text NOT NULL,
    activity_date date,
    duration_hours numeric(6, 2),
    content jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE assessment (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    pupil_id uuid NOT NULL REFERENCES pupil,
    activity_sheet_id uuid REFERENCES activity_sheet,
    skill_code text NOT NULL,
    level smallint,
    score double precision,
    comment text,
    assessed_on date,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE professional_passport (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    pupil_id uuid NOT NULL REFERENCES pupil,
    diploma_code text NOT NULL,
    statement text,
    signature bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE passport_entry (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    passport_id uuid NOT NULL REFERENCES professional_passport,
    position integer NOT NULL,
    kind text NOT NULL,
    content jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE attachment (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    pupil_id uuid NOT NULL REFERENCES pupil,
    report_id uuid REFERENCES report,
    activity_sheet_id uuid REFERENCES activity_sheet,
    file_name text NOT NULL,
    content_type text NOT NULL,
    object_key text NOT NULL UNIQUE,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX report_pupil ON report (pupil_id);
CREATE INDEX activity_sheet_pupil ON activity_sheet (pupil_id);
CREATE INDEX assessment_pupil ON assessment (pupil_id);
CREATE INDEX assessment_activity_sheet ON assessment (activity_sheet_id) WHERE activity_sheet_id IS NOT NULL;
CREATE INDEX professional_passport_pupil ON professional_passport (pupil_id);
CREATE INDEX passport_entry_passport ON passport_entry (passport_id);
CREATE INDEX attachment_pupil ON attachment (pupil_id);
CREATE INDEX attachment_report ON attachment (report_id) WHERE report_id IS NOT NULL;
CREATE INDEX attachment_activity_sheet ON attachment (activity_sheet_id) WHERE activity_sheet_id IS NOT NULL;
"""

IMPORTS = """
CREATE TABLE siecle_import_applied (
    import_id uuid PRIMARY KEY,
    school_year integer NOT NULL,
    exported_at timestamp,
    reference_date date NOT NULL,
    file_sha256 text NOT NULL,
    plan_digest text NOT NULL,
    confirmed_by text,
    applied_at timestamptz NOT NULL,
    present integer NOT NULL,
    created integer NOT NULL,
    updated integer NOT NULL,
    deactivated integer NOT NULL,
    reactivated integer NOT NULL,
    unchanged integer NOT NULL,
    not_arrived integer NOT NULL,
    ignored integer NOT NULL,
    rejected integer NOT NULL,
    warnings integer NOT NULL
);
COMMENT ON COLUMN siecle_import_applied.exported_at IS 'The file''s own local time: compared with exports of this school only';
CREATE INDEX siecle_import_applied_by_school_year ON siecle_import_applied (school_year, applied_at);

CREATE TABLE siecle_import_finding (
    import_id uuid NOT NULL,
    ordinal integer NOT NULL,
    severity text NOT NULL CHECK (severity IN ('rejection', 'warning')),
    code text NOT NULL,
    line integer,
    siecle_id text,
    family_name text,
    first_name text,
    ine text,
    found text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (import_id, ordinal)
);
CREATE INDEX siecle_import_finding_by_age ON siecle_import_finding (created_at);

CREATE TABLE siecle_import_change (
    import_id uuid NOT NULL,
    ordinal integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('created', 'updated', 'deactivated', 'reactivated')),
    pupil_id uuid,
    siecle_id text,
    family_name text NOT NULL,
    first_name text NOT NULL,
    birth_date date NOT NULL,
    division text,
    reason text,
    record_count integer,
    before jsonb,
    after jsonb,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (import_id, ordinal)
);
COMMENT ON COLUMN siecle_import_change.pupil_id IS 'Absent for a pupil that a preview would create; no foreign key, for that';
CREATE INDEX siecle_import_change_by_kind ON siecle_import_change (import_id, kind, ordinal);
CREATE INDEX siecle_import_change_by_age ON siecle_import_change (created_at);
"""

TRANSFERS = """
CREATE TABLE transfer_opt_in (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    enabled boolean NOT NULL DEFAULT false,
    roster_source text NOT NULL DEFAULT 'siecle' CHECK (roster_source IN ('siecle', 'manual')),
    revision bigint NOT NULL DEFAULT 0,
    changed_at timestamptz,
    changed_by text
);
INSERT INTO transfer_opt_in DEFAULT VALUES;
CREATE TABLE transfer_opt_in_history (
    revision bigint PRIMARY KEY,
    enabled boolean NOT NULL,
    roster_source text NOT NULL,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL
);

CREATE TABLE transfer_hold (
    pupil_id uuid PRIMARY KEY REFERENCES pupil,
    transfer_id uuid NOT NULL UNIQUE,
    epoch bigint NOT NULL,
    claim uuid NOT NULL,
    opt_in jsonb NOT NULL,
    held_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE transfer_hold IS 'Origin: the records of this pupil are being copied; only the claim may write them';
COMMENT ON COLUMN transfer_hold.opt_in IS 'This establishment''s opt-in as it was read, under lock, when the hold was set';

CREATE TABLE transfer_fence (
    transfer_id uuid PRIMARY KEY,
    epoch bigint NOT NULL,
    raised_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE transfer_fence IS 'Destination: only the mover with this epoch may land this transfer';

CREATE TABLE transfer_receipt (
    transfer_id uuid NOT NULL,
    direction text NOT NULL CHECK (direction IN ('outgoing', 'incoming')),
    pupil_id uuid NOT NULL REFERENCES pupil,
    other_uai text NOT NULL,
    epoch bigint NOT NULL,
    tables jsonb NOT NULL,
    origin_opt_in jsonb NOT NULL,
    destination_opt_in jsonb NOT NULL,
    origin_import_id uuid,
    destination_import_id uuid,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (transfer_id, direction)
);
COMMENT ON COLUMN transfer_receipt.tables IS '{table: {"count": n, "digest": hex, "ids": [uuid]}}, the same at both ends';
CREATE INDEX transfer_receipt_pupil ON transfer_receipt (pupil_id);

CREATE TABLE transfer_object_removal (
    object_key text PRIMARY KEY,
    transfer_id uuid NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX transfer_object_removal_transfer ON transfer_object_removal (transfer_id);
COMMENT ON TABLE transfer_object_removal IS 'Objects whose rows have left this database, until the store has let go of them';
"""

# The pupil row is locked before the hold is looked for: a writer already under way makes the mover wait, and one that
# comes later waits for the mover and then sees the hold. (The mover's UPDATE of the row is for writers in REPEATABLE
# READ, whose snapshot can't show them the hold: they fail with a serialization error.)
GUARD = """
CREATE FUNCTION refuse_writes_in_transfer(pupils uuid[], inserting boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    pupil_in_the_way uuid;
BEGIN
    PERFORM 1 FROM pupil WHERE id = ANY (pupils) ORDER BY id FOR KEY SHARE;

    SELECT h.pupil_id INTO pupil_in_the_way FROM transfer_hold h
    WHERE h.pupil_id = ANY (pupils) AND h.claim::text IS DISTINCT FROM current_setting('cpro.transfer_claim', true)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the records of pupil % are being transferred', pupil_in_the_way
            USING ERRCODE = 'CP001', HINT = 'Try again once the transfer has ended.';
    END IF;

    IF inserting THEN
        SELECT p.id INTO pupil_in_the_way FROM pupil p
        WHERE p.id = ANY (pupils) AND p.records_moved_at IS NOT NULL AND NOT p.active
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'the records of pupil % have moved to another establishment', pupil_in_the_way
                USING ERRCODE = 'CP002', HINT = 'Add to them there, or activate the pupil here again.';
        END IF;
    END IF;
END
$$;

CREATE FUNCTION guard_changed_records() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    pupils uuid[];
BEGIN
    -- The argument is the query that names the pupils of the rows in the transition table "changed".
    EXECUTE format('SELECT array_agg(DISTINCT pupil_id) FROM (%s) AS touched (pupil_id)', TG_ARGV[0]) INTO pupils;
    IF pupils IS NOT NULL THEN
        PERFORM refuse_writes_in_transfer(pupils, TG_ARGV[1]::boolean);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'record tables are not truncated: pupils in transfer would lose their records'
        USING ERRCODE = 'CP003';
END
$$;

-- A pupil who is active here again may have new records: those are not the ones that moved.
CREATE FUNCTION forget_moved_records() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.records_moved_at := NULL;
    NEW.records_moved_to := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER pupil_active_again BEFORE UPDATE ON pupil FOR EACH ROW
    WHEN (NEW.active AND NOT OLD.active) EXECUTE FUNCTION forget_moved_records();

CREATE FUNCTION guard_record_table(record_table regclass, pupils_of_changed text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER transfer_guard_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION guard_changed_records(%L, true)', record_table, pupils_of_changed);
    EXECUTE format('CREATE TRIGGER transfer_guard_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION guard_changed_records(%L, false)', record_table, pupils_of_changed);
    -- Both images: a row that is given to another pupil touches two of them.
    EXECUTE format('CREATE TRIGGER transfer_guard_update AFTER UPDATE ON %s
        REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
        FOR EACH STATEMENT EXECUTE FUNCTION guard_changed_records(%L, true)', record_table,
        replace(pupils_of_changed, 'changed', 'changed_from') || ' UNION ALL '
        || replace(pupils_of_changed, 'changed', 'changed_to'));
    EXECUTE format('CREATE TRIGGER transfer_guard_truncate BEFORE TRUNCATE ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate()', record_table);
END
$$;

SELECT guard_record_table('report', 'SELECT pupil_id FROM changed');
SELECT guard_record_table('activity_sheet', 'SELECT pupil_id FROM changed');
SELECT guard_record_table('assessment', 'SELECT pupil_id FROM changed');
SELECT guard_record_table('professional_passport', 'SELECT pupil_id FROM changed');
SELECT guard_record_table('passport_entry',
    'SELECT p.pupil_id FROM changed c JOIN professional_passport p ON p.id = c.passport_id');
SELECT guard_record_table('attachment', 'SELECT pupil_id FROM changed');
"""


def upgrade() -> None:
    for statements in (PUPILS, RECORDS, outbox.CREATE_TABLE, IMPORTS, TRANSFERS, GUARD):
        op.execute(statements)
