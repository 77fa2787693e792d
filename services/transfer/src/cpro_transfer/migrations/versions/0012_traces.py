"""Which trace a transfer belongs to, and which trace each import was: ids of traces, of nobody.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TRACES = """
ALTER TABLE transfer ADD COLUMN traceparent text;
COMMENT ON COLUMN transfer.traceparent IS 'The trace of the fact that called for it last (W3C trace context)';
CREATE TABLE import_trace (
    import_id uuid PRIMARY KEY,
    traceparent text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE import_trace IS 'The trace of each import: a transfer links to that of the school which told its half first';
CREATE INDEX import_trace_age ON import_trace (noted_at);
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(TRACES)
