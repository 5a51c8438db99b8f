-- initial: every table of the embedded store.
-- Times are Unix seconds, digests and serial numbers fixed-width octets, lists and sums JSON texts.

-- One row: which database this is, so that a worker's own anchor can tell it from another.
CREATE TABLE instance (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL
);

CREATE TABLE authorities (
    seq INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('root', 'issuing')),
    certificate BLOB NOT NULL,
    issuer TEXT,
    key_label TEXT,
    is_default INTEGER NOT NULL CHECK (is_default IN (0, 1)),
    imported_at INTEGER NOT NULL,
    -- The number of the newest ledger entry: taken last in a transaction, so that numbers follow commit order.
    ledger_head INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX authorities_default ON authorities (is_default) WHERE is_default = 1;

CREATE TABLE policies (
    version INTEGER NOT NULL PRIMARY KEY,
    bundle TEXT NOT NULL,
    stored_at INTEGER NOT NULL
);

CREATE TABLE nonces (
    nonce TEXT NOT NULL PRIMARY KEY,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX nonces_expires ON nonces (expires);

CREATE TABLE grants (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    max_accounts INTEGER,
    statement TEXT NOT NULL,
    signature TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'revoked')),
    created_at INTEGER NOT NULL,
    accounts INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE accounts (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('pending', 'valid', 'deactivated', 'revoked')),
    jwk TEXT NOT NULL,
    thumbprint TEXT NOT NULL,
    contact TEXT NOT NULL,
    terms_agreed INTEGER NOT NULL CHECK (terms_agreed IN (0, 1)),
    grant_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    jws TEXT NOT NULL
);
CREATE UNIQUE INDEX accounts_key ON accounts (thumbprint) WHERE status IN ('pending', 'valid');
CREATE INDEX accounts_thumbprint ON accounts (thumbprint, seq);
CREATE INDEX accounts_grant ON accounts (grant_id);

CREATE TABLE key_changes (
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    jws TEXT NOT NULL,
    PRIMARY KEY (account_id, number)
) WITHOUT ROWID;

CREATE TABLE orders (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    authority TEXT NOT NULL,
    profile TEXT NOT NULL,
    identifiers TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'ready', 'processing', 'valid', 'invalid')),
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
    CHECK ((status = 'valid') = (serial IS NOT NULL))
);
-- RFC 9773 §5: a certificate is replaced by one order.
CREATE UNIQUE INDEX orders_replaces ON orders (authority, replaces) WHERE replaces IS NOT NULL AND status <> 'invalid';
CREATE INDEX orders_account ON orders (account_id, seq);
CREATE INDEX orders_fruitless ON orders (expires) WHERE status IN ('pending', 'ready', 'invalid');

CREATE TABLE authorizations (
    id TEXT NOT NULL PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    account_id TEXT NOT NULL,
    identifier TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked')),
    expires INTEGER NOT NULL,
    UNIQUE (order_id, position)
) WITHOUT ROWID;

CREATE TABLE requests (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL,
    -- None: the request is to make the account valid. An order has one request.
    order_id TEXT UNIQUE REFERENCES orders (id) ON DELETE CASCADE,
    state TEXT NOT NULL CHECK (state IN ('queued', 'leased', 'done', 'refused')),
    not_before INTEGER NOT NULL,
    worker TEXT,
    lease TEXT,
    lease_until INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    problem TEXT,
    received_at INTEGER NOT NULL,
    ended_at INTEGER,
    CHECK ((state IN ('done', 'refused')) = (ended_at IS NOT NULL)),
    CHECK ((state = 'leased') = (lease IS NOT NULL))
);
CREATE INDEX requests_waiting ON requests (seq) WHERE ended_at IS NULL;
CREATE INDEX requests_account ON requests (account_id) WHERE ended_at IS NULL;
CREATE INDEX requests_ended ON requests (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE attempts (
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
    state TEXT NOT NULL CHECK (state IN ('open', 'released', 'abandoned')),
    ended_at INTEGER,
    reason TEXT,
    -- A signature that came too late: kept, never released.
    unreleased BLOB,
    CHECK ((serial IS NULL) <> (crl_number IS NULL)),
    CHECK ((state = 'open') = (ended_at IS NULL))
);
-- Invariant 4: at most one live attempt, so at most one released certificate per order.
CREATE UNIQUE INDEX attempts_order ON attempts (order_id) WHERE order_id IS NOT NULL AND state IN ('open', 'released');
CREATE UNIQUE INDEX attempts_crl ON attempts (authority, crl_scope, crl_number) WHERE crl_number IS NOT NULL;
CREATE INDEX attempts_open ON attempts (at) WHERE state = 'open';
CREATE INDEX attempts_open_request ON attempts (request_id) WHERE state = 'open' AND request_id IS NOT NULL;

CREATE TABLE certificates (
    seq INTEGER NOT NULL PRIMARY KEY,
    authority TEXT NOT NULL REFERENCES authorities (name),
    serial BLOB NOT NULL CHECK (length(serial) = 20),
    state TEXT NOT NULL CHECK (state IN ('intent', 'released', 'abandoned')),
    profile TEXT NOT NULL,
    subject TEXT NOT NULL,
    identifiers TEXT NOT NULL,
    spki_sha256 BLOB NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    crl_partition INTEGER NOT NULL,
    der BLOB,
    account_id TEXT,
    grant_id TEXT,
    order_id TEXT,
    revoked_at INTEGER,
    revocation_reason INTEGER,
    invalidity_date INTEGER,
    -- Its revocation's ledger number.
    revoked_number INTEGER,
    -- RFC 5280 §3.3: set once a CRL issued after notAfter has listed it.
    off_crl INTEGER NOT NULL DEFAULT 0 CHECK (off_crl IN (0, 1)),
    created_at INTEGER NOT NULL,
    UNIQUE (serial, authority),
    CHECK ((state = 'released') = (der IS NOT NULL)),
    CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL)),
    CHECK ((revoked_at IS NULL) = (revoked_number IS NULL)),
    CHECK (state <> 'abandoned' OR revoked_at IS NOT NULL)
);
CREATE INDEX certificates_key ON certificates (spki_sha256, authority, profile, seq);
CREATE INDEX certificates_grant ON certificates (grant_id, seq) WHERE grant_id IS NOT NULL;
CREATE INDEX certificates_order ON certificates (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX certificates_profile ON certificates (profile, seq);
CREATE INDEX certificates_expiry ON certificates (not_after);
CREATE INDEX certificates_crl ON certificates (authority, crl_partition, serial) WHERE revoked_at IS NOT NULL AND off_crl = 0;
CREATE INDEX certificates_leaving ON certificates (authority, crl_partition, not_after) WHERE revoked_at IS NOT NULL AND off_crl = 0;
CREATE INDEX certificates_revoked ON certificates (seq) WHERE revoked_at IS NOT NULL;

CREATE TABLE certificate_names (
    name TEXT NOT NULL,
    certificate INTEGER NOT NULL REFERENCES certificates (seq),
    PRIMARY KEY (name, certificate)
) WITHOUT ROWID;

CREATE TABLE ledger (
    authority TEXT NOT NULL REFERENCES authorities (name),
    number INTEGER NOT NULL,
    serial BLOB NOT NULL,
    event TEXT NOT NULL CHECK (event IN ('revoke', 'unhold')),
    reason INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (authority, number)
) WITHOUT ROWID;

-- Invariant 7: each of these numbers only grows.
CREATE TABLE crl_heads (
    authority TEXT NOT NULL REFERENCES authorities (name),
    scope INTEGER NOT NULL,
    allocated INTEGER NOT NULL DEFAULT 0,
    intended INTEGER NOT NULL DEFAULT 0,
    released INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (authority, scope)
) WITHOUT ROWID;

CREATE TABLE crls (
    seq INTEGER NOT NULL PRIMARY KEY,
    authority TEXT NOT NULL REFERENCES authorities (name),
    scope INTEGER NOT NULL,
    number INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    ledger_number INTEGER NOT NULL,
    der BLOB NOT NULL,
    UNIQUE (authority, scope, number)
);
CREATE INDEX crls_next_update ON crls (next_update);

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    due INTEGER NOT NULL,
    worker TEXT,
    lease TEXT,
    lease_until INTEGER,
    -- A due time asked for while the job was leased: the end of the lease must not push it back.
    due_meanwhile INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    last_done INTEGER,
    CHECK ((lease IS NULL) = (lease_until IS NULL))
) WITHOUT ROWID;
CREATE INDEX jobs_due ON jobs (due);

-- Numbered without gaps, chained by hash. A leaf's first line names its format.
CREATE TABLE audit (
    number INTEGER NOT NULL PRIMARY KEY,
    leaf BLOB NOT NULL CHECK (length(leaf) > 0),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
);
