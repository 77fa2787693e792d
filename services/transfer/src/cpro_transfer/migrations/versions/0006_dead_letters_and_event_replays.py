"""Dead letters, as they are read from their topics, and replays of the establishments' event logs.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
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
REPLAYS = """
CREATE TABLE event_replay (
    id uuid PRIMARY KEY,
    state text NOT NULL DEFAULT 'counting'
        CHECK (state IN ('counting', 'counted', 'running', 'completed', 'cancelled')),
    uais text[] NOT NULL,
    pupil_id uuid,
    import_id uuid,
    published_from timestamptz,
    published_to timestamptz,
    events_per_second integer NOT NULL CHECK (events_per_second > 0),
    next_at timestamptz NOT NULL DEFAULT now(),
    ticket text NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_by text,
    started_at timestamptz,
    cancelled_by text,
    finished_at timestamptz,
    CHECK ((state IN ('running', 'completed')) <= (started_by IS NOT NULL)),
    CHECK ((state = 'cancelled') = (cancelled_by IS NOT NULL)),
    CHECK ((state IN ('completed', 'cancelled')) = (finished_at IS NOT NULL))
);
COMMENT ON COLUMN event_replay.uais IS 'Empty: all establishments';
COMMENT ON COLUMN event_replay.next_at IS 'Not before then, so that no more than so many events a second are published';
CREATE INDEX event_replay_due ON event_replay (next_at) WHERE state IN ('counting', 'running');
CREATE INDEX event_replay_newest ON event_replay (requested_at DESC, id DESC);

CREATE TABLE event_replay_school (
    replay_id uuid NOT NULL REFERENCES event_replay ON DELETE CASCADE,
    uai text NOT NULL,
    counts jsonb NOT NULL DEFAULT '{}',
    expected integer NOT NULL DEFAULT 0,
    position bigint NOT NULL DEFAULT 0,
    last_position bigint NOT NULL DEFAULT 0,
    published integer NOT NULL DEFAULT 0,
    done boolean NOT NULL DEFAULT false,
    due_at timestamptz NOT NULL DEFAULT now(),
    trouble text,
    PRIMARY KEY (replay_id, uai)
);
COMMENT ON COLUMN event_replay_school.position IS 'In the event log of the establishment: everything up to here is published again';
COMMENT ON COLUMN event_replay_school.last_position IS 'Where its event log ended when it was counted';
COMMENT ON COLUMN event_replay_school.done IS 'With the counting, and then with the publishing';
CREATE INDEX event_replay_school_left ON event_replay_school (replay_id, uai) WHERE NOT done;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(LETTERS)
    op.execute(REPLAYS)
