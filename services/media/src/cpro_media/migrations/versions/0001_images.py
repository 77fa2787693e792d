"""The images, and the objects that are to be removed."""

from alembic import op

revision = "0001"
down_revision = None

IMAGES = """
CREATE TABLE image (
    uai text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('logo', 'stamp')),
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL,
    key text NOT NULL UNIQUE,
    sha256 text NOT NULL,
    content_type text NOT NULL,
    bytes bigint NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    thumbnail_key text NOT NULL UNIQUE,
    thumbnail_sha256 text NOT NULL,
    thumbnail_content_type text NOT NULL,
    thumbnail_bytes bigint NOT NULL,
    thumbnail_width integer NOT NULL,
    thumbnail_height integer NOT NULL,
    PRIMARY KEY (uai, kind)
);
COMMENT ON COLUMN image.sha256 IS 'Of the stored bytes; the ETag';

CREATE TABLE object_removal (
    object_key text PRIMARY KEY,
    due_at timestamptz NOT NULL
);
CREATE INDEX object_removal_due ON object_removal (due_at);
COMMENT ON TABLE object_removal IS 'Objects that no row refers to: being uploaded, or no longer wanted';
"""


def upgrade() -> None:
    op.execute(IMAGES)
