"""Receipts outlive the pupils they tell of, and old ones may go without breaking the chain.

A pupil is erased, or a stub's time is over; the receipt holds an id that nothing has any more, counts and digests, and
the chain needs it. Old receipts go from the front: the anchor says up to where, and with which hash the rest begins.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

RECEIPTS = """
ALTER TABLE transfer_receipt DROP CONSTRAINT transfer_receipt_pupil_id_fkey;
ALTER TABLE transfer_receipt_chain
    ADD COLUMN forgotten_sequence bigint NOT NULL DEFAULT 0,
    ADD COLUMN forgotten_hash text,
    ADD COLUMN forgotten_at timestamptz,
    ADD COLUMN forgotten_written_at timestamptz,
    ADD CHECK ((forgotten_sequence = 0) = (forgotten_hash IS NULL));
COMMENT ON COLUMN transfer_receipt_chain.forgotten_sequence IS 'Receipts up to this one were kept long enough, and have gone';
COMMENT ON COLUMN transfer_receipt_chain.forgotten_hash IS 'The hash of the last of them: the next receipt names it';
COMMENT ON COLUMN transfer_receipt_chain.forgotten_written_at IS 'When the last of them was written';
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(RECEIPTS)
