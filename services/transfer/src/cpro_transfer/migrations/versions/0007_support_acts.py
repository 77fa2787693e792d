"""What support does to transfers: undoing them, and the audit trail.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UNDOING = """
ALTER TABLE transfer ADD COLUMN undoes uuid REFERENCES transfer, ADD COLUMN ticket text;
COMMENT ON COLUMN transfer.undoes IS 'The completed transfer that this one takes back, under the ticket';
CREATE UNIQUE INDEX transfer_undoes ON transfer (undoes) WHERE undoes IS NOT NULL;
"""

AUDIT = """
CREATE TABLE audit_entry (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    role text NOT NULL,
    action text NOT NULL CHECK (action ~ '^[a-z_]+[.][a-z_]+$'),
    ticket text,
    transfer_id uuid,
    subject_id uuid,
    origin_uai text,
    origin_pupil_id uuid,
    destination_uai text,
    destination_pupil_id uuid,
    facts jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE audit_entry IS 'Who did what to which pupil''s transfer, when, under which ticket. Append-only; no names';
COMMENT ON COLUMN audit_entry.actor IS 'The subject of the caller''s token';
COMMENT ON COLUMN audit_entry.subject_id IS 'What else it was done to: an authorisation, a replay, a dead letter';
CREATE INDEX audit_entry_origin ON audit_entry (origin_uai, position DESC) WHERE origin_uai IS NOT NULL;
CREATE INDEX audit_entry_destination ON audit_entry (destination_uai, position DESC) WHERE destination_uai IS NOT NULL;
CREATE INDEX audit_entry_transfer ON audit_entry (transfer_id, position DESC) WHERE transfer_id IS NOT NULL;
CREATE INDEX audit_entry_subject ON audit_entry (subject_id, position DESC) WHERE subject_id IS NOT NULL;
"""

# By statement, so that also one that would hit no row is refused; always, so that no session setting goes round it.
APPEND_ONLY = """
CREATE FUNCTION refuse_changes_of_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'CP010';
END
$$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes_of_audit();
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_append_only;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statements in (UNDOING, AUDIT, APPEND_ONLY):
        op.execute(statements)
