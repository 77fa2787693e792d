"""A job that can't be carried out now lets other schools go first, and is asked for again.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LINE = """
ALTER TABLE import_job ADD COLUMN ask_again_at timestamptz;
COMMENT ON COLUMN import_job.ask_again_at IS 'Its request has been put aside: when the school''s first job is asked for again';
CREATE INDEX import_job_put_aside ON import_job (ask_again_at) WHERE ask_again_at IS NOT NULL;
CREATE INDEX import_job_line ON import_job (uai) WHERE state IN ('queued', 'running');
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(LINE)
