"""What an import of a large school writes without needing it.

The plan's digest is made only where a person is asked to confirm. The changes of one kind are found by their ordinals,
which follow the kind; their age by blocks, for rows come in the order of time.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CHANGES = """
ALTER TABLE siecle_import_applied ALTER COLUMN plan_digest DROP NOT NULL;
DROP INDEX siecle_import_change_by_kind;
DROP INDEX siecle_import_change_by_age;
DROP INDEX siecle_import_finding_by_age;
CREATE INDEX siecle_import_change_by_age ON siecle_import_change USING brin (created_at);
CREATE INDEX siecle_import_finding_by_age ON siecle_import_finding USING brin (created_at);
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(CHANGES)
