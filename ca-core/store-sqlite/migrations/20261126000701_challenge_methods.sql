-- challenge_methods: device-attest-01 is a method too. A CHECK can't be changed: the table is made anew, and with it the
-- jobs that refer to it, which keep their place.

CREATE TABLE new_challenges (
    authorization_id TEXT NOT NULL REFERENCES authorizations (id) ON DELETE CASCADE,
    method TEXT NOT NULL CHECK (method IN ('http-01', 'dns-01', 'tls-alpn-01', 'device-attest-01')),
    token TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'processing', 'valid', 'invalid')),
    validated INTEGER,
    error TEXT,
    attested_key TEXT,
    PRIMARY KEY (authorization_id, method),
    CHECK ((status = 'valid') = (validated IS NOT NULL)),
    CHECK (attested_key IS NULL OR method = 'device-attest-01')
) WITHOUT ROWID;
INSERT INTO new_challenges (authorization_id, method, token, status, validated, error, attested_key)
    SELECT authorization_id, method, token, status, validated, error, attested_key FROM challenges;

CREATE TABLE kept_validations AS
    SELECT authorization_id, method, due, deadline, attempts, worker, lease, lease_until, answer FROM validations;
DROP TABLE validations;
DROP TABLE challenges;
ALTER TABLE new_challenges RENAME TO challenges;

CREATE TABLE validations (
    authorization_id TEXT NOT NULL,
    method TEXT NOT NULL,
    due INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    lease TEXT,
    lease_until INTEGER,
    answer TEXT,
    PRIMARY KEY (authorization_id, method),
    FOREIGN KEY (authorization_id, method) REFERENCES challenges (authorization_id, method) ON DELETE CASCADE,
    CHECK ((lease IS NULL) = (lease_until IS NULL))
) WITHOUT ROWID;
INSERT INTO validations (authorization_id, method, due, deadline, attempts, worker, lease, lease_until, answer)
    SELECT authorization_id, method, due, deadline, attempts, worker, lease, lease_until, answer FROM kept_validations;
DROP TABLE kept_validations;
CREATE INDEX validations_due ON validations (due);
CREATE INDEX validations_leased ON validations (lease) WHERE lease IS NOT NULL;
