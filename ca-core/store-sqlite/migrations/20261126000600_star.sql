-- star: orders that renew themselves (RFC 8739). The order's own row stays valid when it is canceled; its expires is the
-- end date once it is valid, and the time of the cancellation after that.
CREATE TABLE star_orders (
    order_id TEXT NOT NULL PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    -- As the client signed them.
    terms TEXT NOT NULL,
    canceled_at INTEGER
) WITHOUT ROWID;
