-- Which of the account's keys made a request that lies for a while: it stays good when the key changes meanwhile.

-- How often the account's key had been changed when the order was finalized; none: before this was kept.
ALTER TABLE orders ADD COLUMN finalized_after INTEGER;

-- The thumbprint of the key by which a challenge was taken up; none: before this was kept, the account's.
ALTER TABLE validations ADD COLUMN thumbprint TEXT;
