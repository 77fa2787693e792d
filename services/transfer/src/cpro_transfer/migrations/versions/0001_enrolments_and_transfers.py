"""What the join knows, and what the movers do.

Revision ID: 0001
Revises:
"""

from alembic import op

from cpro_platform import outbox

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PROJECTION = """
CREATE TABLE enrolment (
    match_key text NOT NULL,
    uai text NOT NULL,
    pupil_id uuid NOT NULL,
    active boolean NOT NULL,
    withdrawn boolean NOT NULL,
    source text NOT NULL,
    ine_status text NOT NULL,
    revision bigint NOT NULL,
    moved_at_revision bigint NOT NULL DEFAULT 0,
    import_id uuid,
    occurred_at timestamptz NOT NULL,
    event_time timestamptz NOT NULL,
    PRIMARY KEY (match_key, uai)
);
COMMENT ON COLUMN enrolment.occurred_at IS 'Since when this has been so, by the establishment''s word';
COMMENT ON COLUMN enrolment.event_time IS 'When the establishment''s database committed to it';
CREATE INDEX enrolment_establishment ON enrolment (uai) INCLUDE (match_key);
CREATE INDEX enrolment_pupil ON enrolment (uai, pupil_id);

CREATE TABLE establishment (
    uai text PRIMARY KEY,
    name text,
    sheet_revision bigint NOT NULL DEFAULT 0,
    opted_in boolean NOT NULL DEFAULT false,
    roster_source text,
    opt_in_revision bigint NOT NULL DEFAULT 0,
    opt_in_changed_at timestamptz,
    opt_in_event_time timestamptz
);
"""

TRANSFERS = """
CREATE TABLE transfer (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    match_key text NOT NULL,
    origin_uai text NOT NULL,
    origin_pupil_id uuid NOT NULL,
    origin_revision bigint NOT NULL,
    destination_uai text,
    destination_pupil_id uuid,
    destination_revision bigint,
    origin_opt_in_revision bigint NOT NULL,
    destination_opt_in_revision bigint,
    state text NOT NULL CHECK (state IN
        ('planned', 'holding', 'copying', 'landed', 'completed', 'held', 'cancelled', 'undone')),
    reason text,
    detail text,
    cancel_requested text,
    epoch bigint NOT NULL DEFAULT 0,
    worker text,
    lease_until timestamptz,
    due_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    records integer,
    called_for_at timestamptz NOT NULL,
    planned_at timestamptz NOT NULL DEFAULT now(),
    state_changed_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    completed_at timestamptz,
    CHECK ((state IN ('held', 'cancelled')) <= (reason IS NOT NULL)),
    -- What has ended is never claimed again.
    CHECK ((state IN ('completed', 'cancelled', 'undone')) <= (due_at IS NULL)),
    -- The business key: whatever is repeated or replayed, the same facts are one transfer.
    UNIQUE NULLS NOT DISTINCT (match_key, origin_uai, origin_revision, destination_uai)
);
COMMENT ON COLUMN transfer.due_at IS 'When a mover should look at it; NULL when none should';
CREATE INDEX transfer_due ON transfer (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX transfer_outgoing ON transfer (origin_uai, planned_at DESC, id DESC);
CREATE INDEX transfer_incoming ON transfer (destination_uai, planned_at DESC, id DESC);
CREATE INDEX transfer_origin_pupil ON transfer (origin_uai, origin_pupil_id);
CREATE INDEX transfer_destination_pupil ON transfer (destination_uai, destination_pupil_id);
"""


def upgrade() -> None:
    for statements in (PROJECTION, TRANSFERS, outbox.CREATE_TABLE):
        op.execute(statements)
