-- blocked_keys: keys that an operator blocked for good. Those of certificates revoked for keyCompromise are blocked too:
-- the certificates say so.
CREATE TABLE blocked_keys (
    seq INTEGER NOT NULL PRIMARY KEY,
    spki_sha256 BLOB NOT NULL UNIQUE CHECK (length(spki_sha256) = 32),
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
);
-- Reason 1: a key's compromised certificates, and the list of all.
CREATE INDEX certificates_compromised_key ON certificates (spki_sha256, seq) WHERE revocation_reason = 1;
CREATE INDEX certificates_compromised ON certificates (seq) WHERE revocation_reason = 1;
