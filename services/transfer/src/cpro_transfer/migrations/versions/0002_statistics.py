"""What the statistics read: when a transfer landed, and indexes that a million ended transfers do not slow down.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LANDED = """
ALTER TABLE transfer ADD COLUMN landed_at timestamptz;
COMMENT ON COLUMN transfer.landed_at IS 'When a mover noted that the destination had committed; NULL for what landed before this column';
"""

INDEXES = """
CREATE INDEX transfer_waiting ON transfer (state, reason, called_for_at) INCLUDE (id)
    WHERE state NOT IN ('completed', 'cancelled', 'undone');
CREATE INDEX transfer_ended ON transfer (state, reason) WHERE state IN ('completed', 'cancelled', 'undone');
CREATE INDEX transfer_landed ON transfer (landed_at) INCLUDE (called_for_at) WHERE landed_at IS NOT NULL;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(LANDED)
    op.execute(INDEXES)
