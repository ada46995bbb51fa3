-- +goose Up
-- Sums of usage_records by the callers' tags, written in the transaction that inserts them; they end with the records.
CREATE TABLE usage_tags (
    day               TEXT NOT NULL,
    org_id            TEXT NOT NULL,
    project_id        TEXT NOT NULL,
    key_id            TEXT NOT NULL,
    tag               TEXT NOT NULL,
    requests          BIGINT NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cached_tokens     BIGINT NOT NULL,
    reasoning_tokens  BIGINT NOT NULL,
    embedding_tokens  BIGINT NOT NULL,
    cost_micros       BIGINT NOT NULL,
    chip_millis       BIGINT NOT NULL,
    chip_nanos        BIGINT NOT NULL,
    PRIMARY KEY (day, org_id, project_id, key_id, tag)
);

-- One row: the first day whose records are kept. Those of earlier days are gone, or on their way.
CREATE TABLE usage_retention (
    id    BIGINT PRIMARY KEY,
    floor TEXT NOT NULL
);

INSERT INTO usage_retention (id, floor) VALUES (1, '');

-- The oldest file of each node's ledger: what was in older ones is never sent again.
CREATE TABLE usage_nodes (
    node   TEXT PRIMARY KEY,
    oldest BIGINT NOT NULL
);

-- Records of days before the floor that are stored in the sums and may be sent again.
CREATE TABLE usage_marks (
    node    TEXT NOT NULL,
    segment BIGINT NOT NULL,
    slot    BIGINT NOT NULL,
    PRIMARY KEY (node, segment, slot)
);

-- +goose Down
DROP TABLE usage_marks;
DROP TABLE usage_nodes;
DROP TABLE usage_retention;
DROP TABLE usage_tags;
