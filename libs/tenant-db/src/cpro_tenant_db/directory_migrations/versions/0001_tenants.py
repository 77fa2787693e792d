"""The directory of tenants.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE tenant (
            uai text PRIMARY KEY CHECK (uai ~ '^[0-9]{7}[A-Z]$'),
            cluster text NOT NULL,
            database text NOT NULL,
            schema_version text,
            state text NOT NULL CHECK (state IN ('creating', 'active', 'migration_failed')),
            created_at timestamptz NOT NULL DEFAULT now(),
            migrated_at timestamptz,
            UNIQUE (cluster, database)
        )
    """)
