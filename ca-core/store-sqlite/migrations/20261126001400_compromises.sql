-- compromises: keys of which it was said that they are compromised, as long as other certificates with them are to be
-- revoked for it. A row goes once none is left.
CREATE TABLE compromises (
    -- A number is not given twice.
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    spki_sha256 BLOB NOT NULL CHECK (length(spki_sha256) = 32),
    -- The certificate that it was said of; certificates are never deleted.
    cause INTEGER NOT NULL,
    -- The row of the audit trail that says by whom.
    audit_row INTEGER NOT NULL,
    -- Whose certificates; none: everyone's.
    account_id TEXT
);
CREATE INDEX compromises_key ON compromises (spki_sha256);
-- followed_compromises: revocations that nobody asked for but for another certificate with the same key.
CREATE TABLE followed_compromises (
    certificate INTEGER NOT NULL PRIMARY KEY REFERENCES certificates (seq),
    cause INTEGER NOT NULL
);
-- With the end, so that a key with many certificates tells quickly which have not expired.
DROP INDEX certificates_key;
CREATE INDEX certificates_key ON certificates (spki_sha256, authority, profile, seq, not_after);
