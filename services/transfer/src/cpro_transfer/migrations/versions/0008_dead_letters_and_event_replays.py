"""Dead letters, as they are read from their topics, and replays of the establishments' event logs.

Revision ID: 0008
Revises: 0005
"""

from alembic import op

revision = "0008"
down_revision = "0005"
branch_labels = None
depends_on = None

LETTERS = """
CREATE TABLE dead_letter (
    id uuid PRIMARY KEY,
    letters_topic text NOT NULL,
    letters_partition integer NOT NULL,
    letters_offset bigint NOT NULL,
    set_aside_at timestamptz NOT NULL,
    topic text NOT NULL,
    partition integer,
    "offset" bigint,
    cause text NOT NULL,
    detail text NOT NULL,
    consumer_group text NOT NULL,
    event_type text NOT NULL,
    uai text NOT NULL,
    key bytea,
    value bytea,
    header_names bytea[] NOT NULL,
    header_values bytea[] NOT NULL,
    replay_of uuid,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'replayed', 'discarded', 'superseded')),
    settled_at timestamptz,
    settled_by text,
    ticket text,
    reason text,
    request_id uuid,
    CHECK ((state = 'waiting') = (settled_at IS NULL)),
    CHECK ((state = 'waiting') = (ticket IS NULL)),
    CHECK ((state = 'discarded') <= (reason IS NOT NULL))
);
COMMENT ON TABLE dead_letter IS 'What is on the topics of dead letters; the id is made of the place there, so reading twice enters it once';
CREATE INDEX dead_letter_place ON dead_letter (letters_topic, letters_partition, letters_offset);
CREATE INDEX dead_letter_newest ON dead_letter (set_aside_at DESC, id DESC);
CREATE INDEX dead_letter_waiting ON dead_letter (topic, cause, set_aside_at, id) WHERE state = 'waiting';
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(LETTERS)
