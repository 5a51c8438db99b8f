-- What its grant covers is authorized with the order and follows from it: no row says so. Authorizations have rows where they
-- stand for themselves, as those with challenges do.

-- An order's own authorization is valid until the order's end, unless its account gave it up (RFC 8555 §7.5.2).
CREATE TABLE withdrawn_authorizations (
    order_id TEXT NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    PRIMARY KEY (order_id, position)
) WITHOUT ROWID;
INSERT INTO withdrawn_authorizations (order_id, position)
    SELECT order_id, position FROM authorizations WHERE order_id IS NOT NULL AND status <> 'valid';
DELETE FROM authorizations WHERE order_id IS NOT NULL;

CREATE TABLE new_authorizations (
    id TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL,
    authority TEXT NOT NULL,
    identifier TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked')),
    expires INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO new_authorizations (id, account_id, authority, identifier, status, expires)
    SELECT id, account_id, authority, identifier, status, expires FROM authorizations;

-- Their challenges and validations would go with the table: they step aside meanwhile.
CREATE TABLE kept_challenges AS
    SELECT authorization_id, method, token, status, validated, error, attested_key FROM challenges;
CREATE TABLE kept_validations AS
    SELECT authorization_id, method, due, deadline, attempts, worker, lease, lease_until, answer FROM validations;
DROP TABLE authorizations;
ALTER TABLE new_authorizations RENAME TO authorizations;
INSERT INTO challenges (authorization_id, method, token, status, validated, error, attested_key)
    SELECT authorization_id, method, token, status, validated, error, attested_key FROM kept_challenges;
INSERT INTO validations (authorization_id, method, due, deadline, attempts, worker, lease, lease_until, answer)
    SELECT authorization_id, method, due, deadline, attempts, worker, lease, lease_until, answer FROM kept_validations;
DROP TABLE kept_challenges;
DROP TABLE kept_validations;
CREATE INDEX authorizations_reuse ON authorizations (account_id, authority, identifier, expires);
CREATE INDEX authorizations_pending ON authorizations (account_id, expires) WHERE status = 'pending';
CREATE INDEX authorizations_expiry ON authorizations (expires);

-- A request's open attempt is found by its order, which has one that is not abandoned.
DROP INDEX attempts_open_request;
