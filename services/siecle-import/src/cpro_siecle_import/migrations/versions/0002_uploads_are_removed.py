"""Uploads do not stay for ever: when each was removed from the object store.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REMOVED_UPLOADS = """
ALTER TABLE import_job ADD COLUMN upload_removed_at timestamptz;
COMMENT ON COLUMN import_job.upload_removed_at IS 'The object is gone; the figures of the job stay';
CREATE INDEX import_job_kept_upload ON import_job (requested_at) WHERE upload_removed_at IS NULL;
CREATE INDEX import_job_object_key ON import_job (object_key);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(REMOVED_UPLOADS)
