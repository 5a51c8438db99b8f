-- challenges: authorizations that stand for themselves, their challenges, validation jobs, and what validations saw.

CREATE TABLE new_authorizations (
    id TEXT NOT NULL PRIMARY KEY,
    -- None: it stands for itself, and any order of its account may rest on it.
    order_id TEXT REFERENCES orders (id) ON DELETE CASCADE,
    position INTEGER,
    account_id TEXT NOT NULL,
    authority TEXT NOT NULL,
    identifier TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked')),
    expires INTEGER NOT NULL,
    UNIQUE (order_id, position),
    CHECK ((order_id IS NULL) = (position IS NULL))
) WITHOUT ROWID;
INSERT INTO new_authorizations (id, order_id, position, account_id, authority, identifier, status, expires)
    SELECT a.id, a.order_id, a.position, a.account_id, o.authority, a.identifier, a.status, a.expires
    FROM authorizations a JOIN orders o ON o.id = a.order_id;
DROP TABLE authorizations;
ALTER TABLE new_authorizations RENAME TO authorizations;
CREATE INDEX authorizations_reuse ON authorizations (account_id, authority, identifier, expires) WHERE order_id IS NULL;
CREATE INDEX authorizations_pending ON authorizations (account_id, expires) WHERE order_id IS NULL AND status = 'pending';
CREATE INDEX authorizations_expiry ON authorizations (expires) WHERE order_id IS NULL;

-- A JSON list of ids; none: those that belong to the order, by position.
ALTER TABLE orders ADD COLUMN authorizations TEXT;

-- The way from an authorization that stands for itself to the orders that rest on it. It may be gone before they are.
CREATE TABLE order_authorizations (
    authorization_id TEXT NOT NULL,
    order_id TEXT NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    PRIMARY KEY (authorization_id, order_id)
) WITHOUT ROWID;
CREATE INDEX order_authorizations_order ON order_authorizations (order_id);

CREATE TABLE challenges (
    authorization_id TEXT NOT NULL REFERENCES authorizations (id) ON DELETE CASCADE,
    method TEXT NOT NULL CHECK (method IN ('http-01', 'dns-01', 'tls-alpn-01')),
    token TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'processing', 'valid', 'invalid')),
    validated INTEGER,
    error TEXT,
    PRIMARY KEY (authorization_id, method),
    CHECK ((status = 'valid') = (validated IS NOT NULL))
) WITHOUT ROWID;

CREATE TABLE validations (
    authorization_id TEXT NOT NULL,
    method TEXT NOT NULL,
    due INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    lease TEXT,
    lease_until INTEGER,
    PRIMARY KEY (authorization_id, method),
    FOREIGN KEY (authorization_id, method) REFERENCES challenges (authorization_id, method) ON DELETE CASCADE,
    CHECK ((lease IS NULL) = (lease_until IS NULL))
) WITHOUT ROWID;
CREATE INDEX validations_due ON validations (due);
CREATE INDEX validations_leased ON validations (lease) WHERE lease IS NOT NULL;

-- Evidence: outlives the authorization.
CREATE TABLE validation_records (
    seq INTEGER NOT NULL PRIMARY KEY,
    authorization_id TEXT NOT NULL,
    proven INTEGER NOT NULL CHECK (proven IN (0, 1)),
    at INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX validation_records_authorization ON validation_records (authorization_id, seq);
CREATE INDEX validation_records_at ON validation_records (at);
