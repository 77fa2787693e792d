"""The imports as the service keeps them, its outbox, and its notes of tenants' outboxes.

Revision ID: 0001
Revises:
"""

from alembic import op

from cpro_platform import outbox
from cpro_tenant_db.tenant_outbox import CREATE_NOTES_TABLE

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JOBS = """
CREATE TABLE import_job (
    id uuid PRIMARY KEY,
    uai text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('apply', 'preview')),
    state text NOT NULL
        CHECK (state IN ('queued', 'running', 'awaiting_confirmation', 'completed', 'failed', 'cancelled')),
    phase text NOT NULL,
    file_sha256 text NOT NULL,
    file_bytes bigint NOT NULL,
    object_key text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    bytes_read bigint NOT NULL DEFAULT 0,
    bytes_expected bigint,
    pupils_read integer NOT NULL DEFAULT 0,
    school_year integer,
    exported_at timestamp,
    reference_date date,
    counts jsonb,
    stop_reasons text[] NOT NULL DEFAULT '{}',
    plan_digest text,
    refusal_code text,
    refusal_detail text,
    confirmed_by text,
    confirmed_at timestamptz,
    cancel_requested_by text,
    started_at timestamptz,
    finished_at timestamptz,
    revision bigint NOT NULL DEFAULT 1
);
COMMENT ON TABLE import_job IS 'No name and no INE: the lists of an import are in the establishment''s database';
COMMENT ON COLUMN import_job.attempts IS 'Claims that did not end: a job that kills its worker again and again is given up';
CREATE INDEX import_job_newest ON import_job (uai, requested_at DESC, id DESC);
CREATE INDEX import_job_same_file ON import_job (uai, file_sha256, mode);
"""


def upgrade() -> None:
    for statements in (JOBS, outbox.CREATE_TABLE, CREATE_NOTES_TABLE):
        op.get_bind().exec_driver_sql(statements)
