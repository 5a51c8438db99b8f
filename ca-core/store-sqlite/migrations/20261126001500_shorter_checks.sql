-- Shorter checks: for a list of three words or more SQLite makes a table whenever it checks a row, which takes longer than
-- the rest of writing it. What is allowed stays the same. Here are two tables that stay small.

CREATE TABLE new_requests (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL,
    -- None: the request is to make the account valid. An order has one request, and takes it along when it is dropped.
    order_id TEXT,
    state TEXT NOT NULL CHECK (state = 'queued' OR state = 'leased' OR state = 'done' OR state = 'refused'),
    not_before INTEGER NOT NULL,
    worker TEXT,
    lease TEXT,
    lease_until INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    problem TEXT,
    received_at INTEGER NOT NULL,
    ended_at INTEGER,
    CHECK (order_id IS NULL OR id = 'f.' || order_id),
    CHECK ((state IN ('done', 'refused')) = (ended_at IS NOT NULL)),
    CHECK ((state = 'leased') = (lease IS NOT NULL))
);
INSERT INTO new_requests (seq, id, account_id, order_id, state, not_before, worker, lease, lease_until, attempts, problem, received_at, ended_at)
    SELECT seq, id, account_id, order_id, state, not_before, worker, lease, lease_until, attempts, problem, received_at, ended_at FROM requests;
DROP TABLE requests;
ALTER TABLE new_requests RENAME TO requests;
CREATE INDEX requests_waiting ON requests (seq) WHERE ended_at IS NULL;
CREATE INDEX requests_account ON requests (account_id) WHERE ended_at IS NULL;
CREATE INDEX requests_ended ON requests (ended_at) WHERE ended_at IS NOT NULL;

-- The triggers that count name this table: it keeps its name, and its rows step aside.
CREATE TABLE kept_counts AS SELECT authority, state, certificates FROM certificate_counts;
DROP TABLE certificate_counts;
CREATE TABLE certificate_counts (
    authority TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state = 'intent' OR state = 'released' OR state = 'revoked' OR state = 'abandoned'),
    certificates INTEGER NOT NULL,
    PRIMARY KEY (authority, state)
) WITHOUT ROWID;
INSERT INTO certificate_counts (authority, state, certificates) SELECT authority, state, certificates FROM kept_counts;
DROP TABLE kept_counts;
