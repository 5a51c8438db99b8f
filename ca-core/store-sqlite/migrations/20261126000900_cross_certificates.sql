-- cross_certificates: further certificates of authorities, by other CAs. A number is never given twice: URLs carry it.
CREATE TABLE cross_certificates (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    authority TEXT NOT NULL,
    issuer TEXT NOT NULL,
    certificate BLOB NOT NULL UNIQUE,
    not_after INTEGER NOT NULL
);
