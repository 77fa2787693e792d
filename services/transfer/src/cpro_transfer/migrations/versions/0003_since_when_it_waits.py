"""Since when a transfer has waited for the same reason, however often a mover has tried it meanwhile.

Each try claims the transfer, which takes its reason away, and sets it aside again, which is a new change of state. So
neither column tells an administrator since when something has been in the way. A trigger notes it, whoever writes.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE transfer ADD COLUMN lasting_reason text, ADD COLUMN reason_since timestamptz;
COMMENT ON COLUMN transfer.reason_since IS 'Since when lasting_reason has been met, try after try';
"""

TRIGGER = """
CREATE FUNCTION note_reason_since() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.reason IS DISTINCT FROM OLD.lasting_reason AND NEW.reason IS NOT NULL THEN
        NEW.lasting_reason := NEW.reason;
        NEW.reason_since := CASE WHEN NEW.reason IS NOT NULL THEN now() END;
    ELSIF NEW.reason IS NULL AND (NEW.state IN ('planned', 'completed', 'cancelled', 'undone')
            OR NEW.state = 'landed' AND OLD.state <> 'landed') THEN
        NEW.lasting_reason := NULL;
        NEW.reason_since := NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER note_reason_since BEFORE INSERT OR UPDATE ON transfer
    FOR EACH ROW EXECUTE FUNCTION note_reason_since();
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(COLUMNS)
    op.execute("UPDATE transfer SET lasting_reason = reason, reason_since = state_changed_at WHERE reason IS NOT NULL")
    op.execute(TRIGGER)
