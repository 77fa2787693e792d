"""Every receipt names the one before it, by hash: what was changed or taken away afterwards shows.

The trigger numbers and hashes whatever is inserted, also by a mover that knows nothing of it. The form that is hashed is
`cpro_tenant_db.receipts.canonical_form`; a test holds the functions here to it.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CHAIN = """
ALTER TABLE transfer_receipt ADD COLUMN sequence bigint, ADD COLUMN previous_hash text, ADD COLUMN hash text;
COMMENT ON COLUMN transfer_receipt.sequence IS 'Place among this establishment''s receipts, from 1, without a gap';
COMMENT ON COLUMN transfer_receipt.hash IS 'SHA-256 over the canonical form, which holds previous_hash and sequence';

CREATE TABLE transfer_receipt_chain (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    sequence bigint NOT NULL DEFAULT 0,
    hash text
);
COMMENT ON TABLE transfer_receipt_chain IS 'The newest receipt. Its row is locked from the first receipt of a transaction to the commit';
INSERT INTO transfer_receipt_chain DEFAULT VALUES;
"""

HASH = """
CREATE FUNCTION hash_of_receipt(receipt transfer_receipt) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT encode(sha256(convert_to(jsonb_build_object(
        'form', 1,
        'sequence', receipt.sequence,
        'previous_hash', receipt.previous_hash,
        'transfer_id', receipt.transfer_id,
        'direction', receipt.direction,
        'pupil_id', receipt.pupil_id,
        'other_uai', receipt.other_uai,
        'epoch', receipt.epoch,
        'tables', receipt.tables,
        'origin_opt_in', receipt.origin_opt_in,
        'destination_opt_in', receipt.destination_opt_in,
        'origin_import_id', receipt.origin_import_id,
        'destination_import_id', receipt.destination_import_id,
        'written_at', to_char(receipt.written_at AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS.US"Z"')
    )::text, 'UTF8')), 'hex')
$$;
"""

TRIGGER = """
CREATE FUNCTION chain_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest transfer_receipt_chain;
BEGIN
    SELECT * INTO newest FROM transfer_receipt_chain FOR UPDATE;
    NEW.sequence := newest.sequence + 1;
    NEW.previous_hash := newest.hash;
    NEW.hash := hash_of_receipt(NEW);
    UPDATE transfer_receipt_chain SET sequence = NEW.sequence, hash = NEW.hash;
    RETURN NEW;
END
$$;
CREATE TRIGGER transfer_receipt_chained BEFORE INSERT ON transfer_receipt
    FOR EACH ROW EXECUTE FUNCTION chain_receipt();
"""

EXISTING = """
DO $$
DECLARE
    receipt transfer_receipt;
    newest transfer_receipt_chain;
BEGIN
    SELECT * INTO newest FROM transfer_receipt_chain;
    FOR receipt IN SELECT * FROM transfer_receipt ORDER BY written_at, transfer_id, direction LOOP
        receipt.sequence := newest.sequence + 1;
        receipt.previous_hash := newest.hash;
        receipt.hash := hash_of_receipt(receipt);
        UPDATE transfer_receipt SET sequence = receipt.sequence, previous_hash = receipt.previous_hash,
            hash = receipt.hash
        WHERE transfer_id = receipt.transfer_id AND direction = receipt.direction;
        newest.sequence := receipt.sequence;
        newest.hash := receipt.hash;
    END LOOP;
    UPDATE transfer_receipt_chain SET sequence = newest.sequence, hash = newest.hash;
END
$$;
ALTER TABLE transfer_receipt ALTER COLUMN sequence SET NOT NULL, ALTER COLUMN hash SET NOT NULL;
CREATE UNIQUE INDEX transfer_receipt_sequence ON transfer_receipt (sequence);
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statements in (CHAIN, HASH, TRIGGER, EXISTING):
        op.execute(statements)
