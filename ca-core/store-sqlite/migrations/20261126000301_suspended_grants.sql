-- Since when a grant is suspended; none: it is not.
ALTER TABLE grants ADD COLUMN suspended_at INTEGER;
