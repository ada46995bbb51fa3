-- +goose Up
-- How fast things may be used: organisations, projects, keys, members, models. 0 is no limit.
CREATE TABLE limits (
    scope       TEXT NOT NULL,
    id          TEXT NOT NULL,
    org_id      TEXT NOT NULL REFERENCES organisations (id),
    rpm         BIGINT NOT NULL,
    tpm         BIGINT NOT NULL,
    concurrency BIGINT NOT NULL,
    set_from    TEXT NOT NULL,
    PRIMARY KEY (scope, id)
);
INSERT INTO limits (scope, id, org_id, rpm, tpm, concurrency, set_from)
SELECT 'key', id, org_id, rpm, tpm, concurrency, 'admin' FROM api_keys WHERE rpm > 0 OR tpm > 0 OR concurrency > 0;
ALTER TABLE api_keys DROP COLUMN rpm;
ALTER TABLE api_keys DROP COLUMN tpm;
ALTER TABLE api_keys DROP COLUMN concurrency;

-- +goose Down
ALTER TABLE api_keys ADD COLUMN rpm BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN tpm BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN concurrency BIGINT NOT NULL DEFAULT 0;
UPDATE api_keys SET rpm = (SELECT l.rpm FROM limits l WHERE l.scope = 'key' AND l.id = api_keys.id),
 tpm = (SELECT l.tpm FROM limits l WHERE l.scope = 'key' AND l.id = api_keys.id),
 concurrency = (SELECT l.concurrency FROM limits l WHERE l.scope = 'key' AND l.id = api_keys.id)
 WHERE id IN (SELECT id FROM limits WHERE scope = 'key');
DROP TABLE limits;
