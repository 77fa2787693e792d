"""The pace of a reading, as its worker measures it.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PACE = """
ALTER TABLE import_job ADD COLUMN pupils_per_second double precision, ADD COLUMN seconds_left double precision;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(PACE)
