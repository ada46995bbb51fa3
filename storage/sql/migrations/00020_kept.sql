-- +goose Up
-- Answers of the responses API that callers go on from.
CREATE TABLE responses (
    id         TEXT PRIMARY KEY,
    project    TEXT NOT NULL,
    previous   TEXT NOT NULL,   -- the response that it goes on from, or empty
    input      TEXT NOT NULL,   -- JSON array of items
    answer     TEXT NOT NULL,   -- JSON
    bytes      BIGINT NOT NULL, -- of both
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX responses_by_project ON responses (project, created_at, id);
CREATE INDEX responses_by_expiry ON responses (expires_at);

-- Files that callers of the model API left; their bytes are blobs.
CREATE TABLE files (
    id         TEXT PRIMARY KEY,
    project    TEXT NOT NULL,
    name       TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    ref        TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX files_by_project ON files (project, created_at, id);

-- How much of both a project has. Its row is locked while either grows.
CREATE TABLE kept (
    project        TEXT PRIMARY KEY,
    responses      BIGINT NOT NULL,
    response_bytes BIGINT NOT NULL,
    files          BIGINT NOT NULL,
    file_bytes     BIGINT NOT NULL
);

-- +goose Down
DROP TABLE kept;
DROP TABLE files;
DROP TABLE responses;
