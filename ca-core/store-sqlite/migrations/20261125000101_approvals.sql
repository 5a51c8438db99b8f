-- approvals: what officers propose and sign on the running CA, and the rosters and revocations that come of it.
-- No row here allows anything: the worker verifies the signatures in it whenever it acts.

CREATE TABLE proposals (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    statement TEXT NOT NULL,
    -- What the statement's digest is over.
    subject TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'begun', 'done', 'ended')),
    progress INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    proposed_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    CHECK ((state IN ('done', 'ended')) = (ended_at IS NOT NULL))
);
CREATE INDEX proposals_open ON proposals (state, seq) WHERE ended_at IS NULL;
CREATE INDEX proposals_state ON proposals (state, seq);
CREATE INDEX proposals_expiry ON proposals (expires_at);

-- One signature of each officer: people count, not keys.
CREATE TABLE approvals (
    proposal INTEGER NOT NULL REFERENCES proposals (seq) ON DELETE CASCADE,
    officer TEXT NOT NULL,
    signature TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (proposal, officer)
) WITHOUT ROWID;

-- Verified from the first one on at each start.
CREATE TABLE roster_changes (
    number INTEGER NOT NULL PRIMARY KEY,
    document TEXT NOT NULL,
    stored_at INTEGER NOT NULL
);

CREATE TABLE revoked_authorities (
    authority TEXT NOT NULL PRIMARY KEY REFERENCES authorities (name),
    issuer TEXT,
    serial BLOB NOT NULL CHECK (length(serial) = 20),
    reason INTEGER NOT NULL,
    invalidity_date INTEGER,
    at INTEGER NOT NULL,
    statement TEXT NOT NULL,
    signatures TEXT NOT NULL
) WITHOUT ROWID;

-- For the revocation of all that an account has.
CREATE INDEX certificates_account ON certificates (account_id, seq) WHERE account_id IS NOT NULL;
