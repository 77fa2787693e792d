"""Who wants to be told of transfers, what there is to tell, and the mails that tell it."""

from alembic import op

revision = "0002"
down_revision = "0001"

PREFERENCES = """
CREATE TABLE notification_preference (
    uai text PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    enabled boolean NOT NULL DEFAULT false,
    enabled_since timestamptz,
    changed_at timestamptz,
    changed_by text,
    refused_address text,
    refused_with text,
    CHECK (enabled = (enabled_since IS NOT NULL))
);
COMMENT ON COLUMN notification_preference.version IS '0: never saved. Counts the changes; the ETag';
COMMENT ON COLUMN notification_preference.refused_address IS
    'The address that a mail server refused for good; nothing is sent to it until it is another, or switched on again';
"""

MAILS = """
CREATE TABLE notification_mail (
    id uuid PRIMARY KEY,
    uai text NOT NULL REFERENCES notification_preference,
    day date NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'refused', 'dropped')),
    formed_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    in_doubt boolean NOT NULL DEFAULT false,
    claim uuid,
    claimed_until timestamptz,
    recipient text,
    incoming integer NOT NULL DEFAULT 0,
    outgoing integer NOT NULL DEFAULT 0,
    reply text,
    settled_at timestamptz
);
COMMENT ON COLUMN notification_mail.id IS 'Also the Message-ID: every copy of a mail has the same';
COMMENT ON COLUMN notification_mail.day IS 'The round in which it was last tried';
COMMENT ON COLUMN notification_mail.in_doubt IS
    'The server may have taken it without our knowing: it tells of nothing more from then on, and is sent again';
COMMENT ON COLUMN notification_mail.reply IS 'What the mail server said last';
-- One a day at most, one on its way at most: by the database, however many processes send.
CREATE UNIQUE INDEX notification_mail_one_a_day ON notification_mail (uai, day) WHERE state IN ('waiting', 'sent');
CREATE UNIQUE INDEX notification_mail_one_waiting ON notification_mail (uai) WHERE state = 'waiting';
CREATE INDEX notification_mail_due ON notification_mail (due_at) WHERE state = 'waiting';
CREATE INDEX notification_mail_of ON notification_mail (uai, formed_at DESC, id DESC);
"""

NEWS = """
CREATE TABLE notification_news (
    transfer_id uuid NOT NULL,
    uai text NOT NULL REFERENCES notification_preference,
    direction text NOT NULL CHECK (direction IN ('incoming', 'outgoing')),
    completed_at timestamptz NOT NULL,
    mail_id uuid REFERENCES notification_mail,
    PRIMARY KEY (transfer_id, uai)
);
COMMENT ON TABLE notification_news IS 'Completed transfers that an establishment is told of, once';
CREATE INDEX notification_news_untold ON notification_news (uai, completed_at) WHERE mail_id IS NULL;
CREATE INDEX notification_news_of_mail ON notification_news (mail_id) WHERE mail_id IS NOT NULL;
CREATE INDEX notification_news_age ON notification_news (completed_at);

CREATE TABLE notification_undone (
    transfer_id uuid PRIMARY KEY,
    undone_at timestamptz NOT NULL
);
COMMENT ON TABLE notification_undone IS 'Transfers that were undone: nobody is told that they completed before';
"""


def upgrade() -> None:
    op.execute(PREFERENCES)
    op.execute(MAILS)
    op.execute(NEWS)
