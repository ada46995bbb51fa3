-- +goose Up
-- Times in which nodes take no work but that of one project: maintenance where project is empty, else an advance
-- reservation. nodes is JSON: names of nodes. begins and ends are microseconds.
CREATE TABLE node_windows (
    name       TEXT NOT NULL PRIMARY KEY,
    nodes      TEXT NOT NULL,
    begins     BIGINT NOT NULL,
    ends       BIGINT NOT NULL,
    project    TEXT NOT NULL,
    reason     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE node_windows;
