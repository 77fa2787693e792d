"""Lines of the audit trail may go once they are old: the database itself refuses to let go of younger ones.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEPT_AT_LEAST = """
CREATE FUNCTION refuse_early_loss_of_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.occurred_at > now() - interval '1 year' THEN
        RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'CP010';
    END IF;
    RETURN OLD;
END
$$;
DROP TRIGGER audit_append_only ON audit_entry;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changes_of_audit();
CREATE TRIGGER audit_kept BEFORE DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION refuse_early_loss_of_audit();
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_append_only, ENABLE ALWAYS TRIGGER audit_kept;
COMMENT ON TABLE audit_entry IS 'Who did what to which pupil''s transfer, when, under which ticket. Append-only for a year; no names';
-- The service's own login may not delete from the audit trail at all: what is due goes by the owner's hand.
CREATE FUNCTION forget_audit(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM public.audit_entry WHERE occurred_at < before;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;
CREATE INDEX audit_entry_age ON audit_entry (occurred_at);
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(KEPT_AT_LEAST)
