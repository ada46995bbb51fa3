-- +goose Up

-- One row for each job, its spec unchanged since creation. revision counts the changes of the row.
CREATE TABLE jobs (
    id            TEXT NOT NULL PRIMARY KEY,
    project       TEXT NOT NULL,
    kind          TEXT NOT NULL,
    name          TEXT NOT NULL,
    owner         TEXT NOT NULL,
    spec          TEXT NOT NULL,
    state         TEXT NOT NULL,
    ended         BIGINT NOT NULL,
    reason        TEXT NOT NULL,
    fault         TEXT NOT NULL,
    attempt       BIGINT NOT NULL,
    restarts      BIGINT NOT NULL,
    streak        BIGINT NOT NULL,
    exit_code     BIGINT NOT NULL,
    limits        TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    started_at    BIGINT NOT NULL,
    attempt_at    BIGINT NOT NULL,
    ended_at      BIGINT NOT NULL,
    next_start_at BIGINT NOT NULL,
    discarded     BIGINT NOT NULL,
    revision      BIGINT NOT NULL
);

-- A run or replica has one job of a kind, however often it is asked for.
CREATE UNIQUE INDEX jobs_by_owner ON jobs (project, kind, owner) WHERE owner <> '';
CREATE INDEX jobs_by_project ON jobs (project, created_at);
CREATE INDEX jobs_open ON jobs (created_at) WHERE ended = 0;
