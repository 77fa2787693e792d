"""Whom support has erased on order: so that no event told again brings them back, and a half erasure is finished.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ERASURES = """
CREATE TABLE erasure (
    id uuid PRIMARY KEY,
    uai text NOT NULL,
    pupil_id uuid NOT NULL,
    plan_digest text NOT NULL,
    ticket text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL,
    erased jsonb NOT NULL,
    finished_at timestamptz
);
COMMENT ON TABLE erasure IS 'An order of support: UAI, ids that nothing else has any more, and counts';
COMMENT ON COLUMN erasure.erased IS 'What the dry run listed, by place and table: counts';
CREATE TABLE erased_pupil (
    uai text NOT NULL,
    pupil_id uuid NOT NULL,
    erasure_id uuid NOT NULL REFERENCES erasure,
    PRIMARY KEY (uai, pupil_id)
);
COMMENT ON TABLE erased_pupil IS 'The join takes in nothing about these any more: topics keep events for months';
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(ERASURES)
