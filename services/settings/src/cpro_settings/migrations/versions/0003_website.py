"""The sheet has the establishment's website."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE establishment_sheet ADD COLUMN website text")
