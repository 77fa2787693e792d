"""The opt-in is kept with the conditions that were accepted: their version, and in the history their text.

Choices made before have none. The columns may be NULL, so a writer that knows nothing of them goes on.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CONDITIONS = """
ALTER TABLE transfer_opt_in ADD COLUMN conditions_version integer;
COMMENT ON COLUMN transfer_opt_in.conditions_version IS 'What was accepted with this choice; NULL: off, or chosen before';
ALTER TABLE transfer_opt_in_history ADD COLUMN conditions_version integer, ADD COLUMN conditions_text text,
    ADD CHECK ((conditions_version IS NULL) = (conditions_text IS NULL));
"""


def upgrade() -> None:
    op.execute(CONDITIONS)
