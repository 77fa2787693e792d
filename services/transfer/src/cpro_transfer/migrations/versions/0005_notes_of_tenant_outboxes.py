"""Establishments' outboxes that a reconciliation writes to.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

from cpro_tenant_db import tenant_outbox

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(tenant_outbox.CREATE_NOTES_TABLE)
