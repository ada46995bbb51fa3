-- +goose Up
-- Usage records that were stored many at once and that nobody has asked for since: they are in the sums, and become rows of
-- usage_records when somebody reads those (storage/sql/bundle.go). Used on SQLite. data is base64.
CREATE TABLE usage_bundles (
    node    TEXT NOT NULL,
    segment BIGINT NOT NULL,
    slot    BIGINT NOT NULL, -- of its first record
    day     TEXT NOT NULL,   -- of all of them
    records BIGINT NOT NULL, -- how many
    data    TEXT NOT NULL,
    PRIMARY KEY (node, segment, slot)
);

CREATE INDEX usage_bundles_by_day ON usage_bundles (day);

-- +goose Down
DROP TABLE usage_bundles;
