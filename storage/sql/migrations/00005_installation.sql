-- +goose Up
-- Which data directory this database belongs to: one row.
CREATE TABLE installation (
    one  BIGINT PRIMARY KEY CHECK (one = 1),
    id   TEXT NOT NULL,
    node TEXT NOT NULL
);

-- +goose Down
DROP TABLE installation;
