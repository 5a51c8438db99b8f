-- replacement_marks: certificates that operators marked for replacement, so that clients renew them before they are revoked
-- (RFC 9773 §4.2). One column of each certificate would do, but here are only those that are marked.
CREATE TABLE replacement_marks (
    certificate INTEGER NOT NULL PRIMARY KEY REFERENCES certificates (seq),
    at INTEGER NOT NULL,
    explanation TEXT,
    -- The certificate's own: long after it nobody asks for the mark.
    not_after INTEGER NOT NULL
);
CREATE INDEX replacement_marks_ended ON replacement_marks (not_after);
