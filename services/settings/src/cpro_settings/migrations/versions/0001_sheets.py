"""The sheets, their history, and what is on its way to Kafka."""

from alembic import op

from cpro_platform.outbox import CREATE_TABLE as CREATE_OUTBOX
from cpro_tenant_db.tenant_outbox import CREATE_NOTES_TABLE

revision = "0001"
down_revision = None

SHEETS = """
CREATE TABLE establishment_sheet (
    uai text PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    name text,
    email text,
    street text,
    postcode text,
    city text,
    telephone text,
    head text,
    academy text,
    changed_at timestamptz,
    changed_by text
);
COMMENT ON COLUMN establishment_sheet.version IS '0: never saved. Counts the changes; the ETag';

CREATE TABLE establishment_sheet_history (
    uai text NOT NULL REFERENCES establishment_sheet,
    version bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL,
    fields jsonb NOT NULL,
    PRIMARY KEY (uai, version)
);
COMMENT ON COLUMN establishment_sheet_history.fields IS '{field: [before, after]}';
"""


def upgrade() -> None:
    op.execute(SHEETS)
    op.execute(CREATE_OUTBOX)
    op.execute(CREATE_NOTES_TABLE)
