-- Fewer pages are written for each order: an index that does not change with an attempt's state, and requests that are found
-- by their own id, which follows from their order's.

-- Invariant 4 as before. A reason is given when an attempt is abandoned, and only then.
DROP INDEX attempts_order;
UPDATE attempts SET reason = '' WHERE state = 'abandoned' AND reason IS NULL;
CREATE UNIQUE INDEX attempts_order ON attempts (order_id) WHERE order_id IS NOT NULL AND reason IS NULL;
CREATE TRIGGER attempts_reason BEFORE UPDATE OF reason ON attempts WHEN NEW.reason IS NOT NULL AND NEW.state <> 'abandoned' BEGIN
    SELECT RAISE(ABORT, 'a reason is for an attempt that is abandoned');
END;

CREATE TABLE new_requests (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL,
    -- None: the request is to make the account valid. An order has one request, and takes it along when it is dropped.
    order_id TEXT,
    state TEXT NOT NULL CHECK (state IN ('queued', 'leased', 'done', 'refused')),
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
