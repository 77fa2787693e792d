"""Authorisations: who allows a transfer that can't be automatic, and what support made of it.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

AUTHORISATIONS = """
CREATE TABLE transfer_authorisation (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    origin_uai text NOT NULL,
    origin_pupil_id uuid NOT NULL,
    destination_uai text NOT NULL,
    given_by text NOT NULL CHECK (given_by IN ('pupil', 'legal_guardian', 'both')),
    given_on date NOT NULL,
    collected_by text NOT NULL CHECK (collected_by IN ('head', 'administration', 'teaching_staff')),
    recorded_by text NOT NULL,
    recorded_at timestamptz NOT NULL,
    expires_on date NOT NULL,
    ticket text,
    destination_pupil_id uuid,
    creates_pupil boolean NOT NULL DEFAULT false,
    chosen_by text,
    chosen_at timestamptz,
    replayed_at timestamptz,
    transfer_id uuid,
    ended_at timestamptz,
    ended_as text CHECK (ended_as IN ('revoked', 'replaced', 'expired', 'executed')),
    ended_by text,
    CHECK (destination_uai <> origin_uai),
    CHECK (expires_on >= given_on),
    CHECK ((ticket IS NULL) = (destination_pupil_id IS NULL)),
    CHECK ((ended_at IS NULL) = (ended_as IS NULL)),
    CHECK ((ended_as IS NOT DISTINCT FROM 'revoked' OR ended_as IS NOT DISTINCT FROM 'replaced') <= (transfer_id IS NULL))
);
COMMENT ON TABLE transfer_authorisation IS 'Ids, UAI, kinds and dates only: no name and no birth date';
COMMENT ON COLUMN transfer_authorisation.transfer_id IS 'A mover carries it out by this transfer, or has: from here it is not taken back';
CREATE UNIQUE INDEX transfer_authorisation_live ON transfer_authorisation (origin_uai, origin_pupil_id)
    WHERE ended_at IS NULL;
CREATE INDEX transfer_authorisation_pupil ON transfer_authorisation (origin_uai, origin_pupil_id, recorded_at DESC);
CREATE INDEX transfer_authorisation_queue ON transfer_authorisation (recorded_at, id) WHERE ended_at IS NULL;
CREATE INDEX transfer_authorisation_transfer ON transfer_authorisation (transfer_id) WHERE transfer_id IS NOT NULL;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(AUTHORISATIONS)
