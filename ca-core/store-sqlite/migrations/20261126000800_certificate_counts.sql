-- certificate_counts: how many certificates there are in each state, kept by triggers, so that asking costs the same with
-- ten million of them. A revoked one is counted as such; an abandoned one is revoked besides, and counted as abandoned.
CREATE TABLE certificate_counts (
    authority TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intent', 'released', 'revoked', 'abandoned')),
    certificates INTEGER NOT NULL,
    PRIMARY KEY (authority, state)
) WITHOUT ROWID;
INSERT INTO certificate_counts (authority, state, certificates)
SELECT authority, CASE WHEN state = 'released' AND revoked_at IS NOT NULL THEN 'revoked' ELSE state END, count(*)
FROM certificates GROUP BY 1, 2;

CREATE TRIGGER certificate_counted AFTER INSERT ON certificates BEGIN
    INSERT INTO certificate_counts (authority, state, certificates)
    VALUES (new.authority, CASE WHEN new.state = 'released' AND new.revoked_at IS NOT NULL THEN 'revoked' ELSE new.state END, 1)
    ON CONFLICT (authority, state) DO UPDATE SET certificates = certificates + 1;
END;
CREATE TRIGGER certificate_recounted AFTER UPDATE OF state, revoked_at ON certificates
WHEN old.state <> new.state OR (old.revoked_at IS NULL) <> (new.revoked_at IS NULL) BEGIN
    UPDATE certificate_counts SET certificates = certificates - 1
    WHERE authority = old.authority
      AND state = CASE WHEN old.state = 'released' AND old.revoked_at IS NOT NULL THEN 'revoked' ELSE old.state END;
    INSERT INTO certificate_counts (authority, state, certificates)
    VALUES (new.authority, CASE WHEN new.state = 'released' AND new.revoked_at IS NOT NULL THEN 'revoked' ELSE new.state END, 1)
    ON CONFLICT (authority, state) DO UPDATE SET certificates = certificates + 1;
END;
