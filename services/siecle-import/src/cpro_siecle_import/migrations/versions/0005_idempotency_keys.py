"""An upload that its sender repeats is the same import, even where the same file is asked to be imported again.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEYS = """
ALTER TABLE import_job ADD COLUMN idempotency_key text;
CREATE UNIQUE INDEX import_job_idempotency_key ON import_job (uai, idempotency_key) WHERE idempotency_key IS NOT NULL;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(KEYS)
