-- +goose Up

-- One row for each request served, under the key it has in its node's ledger. Never changed after insertion.
CREATE TABLE usage_records (
    node              TEXT NOT NULL,
    segment           BIGINT NOT NULL,
    slot              BIGINT NOT NULL,
    request_id        TEXT NOT NULL,
    org_id            TEXT NOT NULL,
    project_id        TEXT NOT NULL,
    key_id            TEXT NOT NULL,
    route_id          TEXT NOT NULL,
    version_id        TEXT NOT NULL,
    model             TEXT NOT NULL,
    kind              BIGINT NOT NULL,
    stream            BIGINT NOT NULL,
    outcome           BIGINT NOT NULL,
    day               TEXT NOT NULL,
    started_at        BIGINT NOT NULL,
    ended_at          BIGINT NOT NULL,
    price_in          BIGINT NOT NULL,
    price_out         BIGINT NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cost_micros       BIGINT NOT NULL,
    PRIMARY KEY (node, segment, slot)
);

-- Sums of usage_records, written in the transaction that inserts them.
CREATE TABLE usage_days (
    day               TEXT NOT NULL,
    org_id            TEXT NOT NULL,
    project_id        TEXT NOT NULL,
    key_id            TEXT NOT NULL,
    route_id          TEXT NOT NULL,
    model             TEXT NOT NULL,
    requests          BIGINT NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cost_micros       BIGINT NOT NULL,
    PRIMARY KEY (day, org_id, project_id, key_id, route_id, model)
);

CREATE INDEX usage_days_by_project ON usage_days (project_id, day);

-- +goose Down
DROP TABLE usage_days;
DROP TABLE usage_records;
