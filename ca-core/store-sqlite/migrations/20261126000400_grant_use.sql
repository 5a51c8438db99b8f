-- grant_use: what a grant has issued in a time, for its cap.

CREATE INDEX certificates_grant_time ON certificates (grant_id, created_at) WHERE grant_id IS NOT NULL AND state <> 'abandoned';
