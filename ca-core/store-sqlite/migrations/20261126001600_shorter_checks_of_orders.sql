-- Shorter checks of orders and attempts, as of requests before. What is allowed stays the same.

-- What refers to orders would go with the table: it steps aside meanwhile.
CREATE TABLE kept_order_authorizations AS SELECT authorization_id, order_id FROM order_authorizations;
CREATE TABLE kept_star_orders AS SELECT order_id, terms, canceled_at FROM star_orders;
CREATE TABLE kept_withdrawn AS SELECT order_id, position FROM withdrawn_authorizations;
DELETE FROM order_authorizations;
DELETE FROM star_orders;
DELETE FROM withdrawn_authorizations;

CREATE TABLE new_orders (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    authority TEXT NOT NULL,
    profile TEXT NOT NULL,
    identifiers TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status = 'pending' OR status = 'ready' OR status = 'processing' OR status = 'valid' OR status = 'invalid'),
    expires INTEGER NOT NULL,
    not_before INTEGER,
    not_after INTEGER,
    error TEXT,
    serial BLOB,
    replaces BLOB,
    created_at INTEGER NOT NULL,
    jws TEXT NOT NULL,
    -- The finalize JWS outlives its request: it is the evidence behind the certificate.
    finalize_jws TEXT,
    -- A JSON list of ids; none: those that belong to the order, by position.
    authorizations TEXT,
    -- How often the account's key had been changed when the order was finalized; none: before this was kept.
    finalized_after INTEGER,
    CHECK ((status = 'valid') = (serial IS NOT NULL))
);
INSERT INTO new_orders (seq, id, account_id, authority, profile, identifiers, status, expires, not_before, not_after, error, serial,
                        replaces, created_at, jws, finalize_jws, authorizations, finalized_after)
    SELECT seq, id, account_id, authority, profile, identifiers, status, expires, not_before, not_after, error, serial,
           replaces, created_at, jws, finalize_jws, authorizations, finalized_after FROM orders;
DROP TABLE orders;
ALTER TABLE new_orders RENAME TO orders;
-- RFC 9773 §5: a certificate is replaced by one order.
CREATE UNIQUE INDEX orders_replaces ON orders (authority, replaces) WHERE replaces IS NOT NULL AND status <> 'invalid';
CREATE INDEX orders_account ON orders (account_id, seq);
-- The three other states; a list here would make its table at each write too.
CREATE INDEX orders_fruitless ON orders (expires) WHERE status <> 'processing' AND status <> 'valid';
-- For renewals: orders of the same names. The beginning of the list keeps the index small.
CREATE INDEX orders_names ON orders (account_id, substr(identifiers, 1, 100)) WHERE status = 'valid';

INSERT INTO order_authorizations (authorization_id, order_id) SELECT authorization_id, order_id FROM kept_order_authorizations;
INSERT INTO star_orders (order_id, terms, canceled_at) SELECT order_id, terms, canceled_at FROM kept_star_orders;
INSERT INTO withdrawn_authorizations (order_id, position) SELECT order_id, position FROM kept_withdrawn;
DROP TABLE kept_order_authorizations;
DROP TABLE kept_star_orders;
DROP TABLE kept_withdrawn;

CREATE TABLE new_attempts (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    authority TEXT NOT NULL REFERENCES authorities (name),
    key_label TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    tbs_sha256 BLOB NOT NULL,
    -- The to-be-signed bytes; dropped on release, when the signed object holds them.
    tbs BLOB,
    -- A certificate has a serial number, a CRL a scope and a number.
    serial BLOB,
    crl_scope INTEGER,
    crl_number INTEGER,
    this_update INTEGER,
    next_update INTEGER,
    ledger_number INTEGER,
    request_id TEXT,
    order_id TEXT,
    job_id TEXT,
    lease TEXT,
    at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state = 'open' OR state = 'released' OR state = 'abandoned'),
    ended_at INTEGER,
    reason TEXT,
    -- A signature that came too late: kept, never released.
    unreleased BLOB,
    CHECK ((serial IS NULL) <> (crl_number IS NULL)),
    CHECK ((state = 'open') = (ended_at IS NULL))
);
INSERT INTO new_attempts (seq, id, authority, key_label, algorithm, tbs_sha256, tbs, serial, crl_scope, crl_number, this_update, next_update,
                          ledger_number, request_id, order_id, job_id, lease, at, state, ended_at, reason, unreleased)
    SELECT seq, id, authority, key_label, algorithm, tbs_sha256, tbs, serial, crl_scope, crl_number, this_update, next_update,
           ledger_number, request_id, order_id, job_id, lease, at, state, ended_at, reason, unreleased FROM attempts;
DROP TABLE attempts;
ALTER TABLE new_attempts RENAME TO attempts;
-- Invariant 4: at most one live attempt, so at most one released certificate per order. A reason is given when an attempt is
-- abandoned, and only then.
CREATE UNIQUE INDEX attempts_order ON attempts (order_id) WHERE order_id IS NOT NULL AND reason IS NULL;
CREATE UNIQUE INDEX attempts_crl ON attempts (authority, crl_scope, crl_number) WHERE crl_number IS NOT NULL;
CREATE INDEX attempts_open ON attempts (at) WHERE state = 'open';
CREATE TRIGGER attempts_reason BEFORE UPDATE OF reason ON attempts WHEN NEW.reason IS NOT NULL AND NEW.state <> 'abandoned' BEGIN
    SELECT RAISE(ABORT, 'a reason is for an attempt that is abandoned');
END;
