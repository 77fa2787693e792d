"""Answers to requests with an `Idempotency-Key` are kept with their effect.

The column that jobs had for it stays: processes of the version before still write it while they are replaced. What was
written there was of use for a day; a later migration takes it away.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

from cpro_platform.idempotency import TABLE

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLE)
