"""Answers to requests with an `Idempotency-Key` are kept with their effect.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

from cpro_platform.idempotency import TABLE

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLE)
