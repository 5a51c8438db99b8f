-- account_standing: what an account failed at in a row, whether it is paused, and which names it had certificates for.

CREATE TABLE account_failures (
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    -- The account's newest certificate then; with a newer one the failure is over. So issuing writes nothing here.
    certificate INTEGER NOT NULL,
    PRIMARY KEY (account_id, number)
) WITHOUT ROWID;
CREATE INDEX account_failures_at ON account_failures (at);

ALTER TABLE accounts ADD COLUMN paused_at INTEGER;
CREATE INDEX accounts_paused ON accounts (seq) WHERE paused_at IS NOT NULL;

-- For renewals: orders of the same names. The beginning of the list keeps the index small.
CREATE INDEX orders_names ON orders (account_id, substr(identifiers, 1, 100)) WHERE status = 'valid';
