-- +goose Up
-- What was measured of work on chips: a row for each bucket of a cell, as compute/perf/measured writes it; scope is the project
-- that alone is answered by it, or empty.
CREATE TABLE perf_rows (
    row_key  TEXT PRIMARY KEY,
    scope    TEXT NOT NULL,
    last_at  BIGINT NOT NULL,
    body     TEXT NOT NULL
);
CREATE INDEX perf_rows_last ON perf_rows (last_at);

-- Reports that were taken, so that none counts twice.
CREATE TABLE perf_reports (
    report   TEXT PRIMARY KEY,
    project  TEXT NOT NULL,
    at       BIGINT NOT NULL
);
CREATE INDEX perf_reports_at ON perf_reports (at);
CREATE INDEX perf_reports_project ON perf_reports (project, at);

-- +goose Down
DROP TABLE perf_reports;
DROP TABLE perf_rows;
