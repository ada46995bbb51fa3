-- +goose Up
-- Leaves that projects give to keep what is asked and answered; see capture.Consent. redact is a JSON list.
CREATE TABLE consents (
    project    TEXT PRIMARY KEY,
    share      TEXT NOT NULL,   -- of the requests, as a decimal
    most       BIGINT NOT NULL, -- bytes of a request or an answer
    keep_ms    BIGINT NOT NULL,
    redact     TEXT NOT NULL,
    given_by   TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- What was kept of requests; data is base64 of capture.Record.Data.
CREATE TABLE captured (
    request  TEXT PRIMARY KEY,
    project  TEXT NOT NULL,
    until_at BIGINT NOT NULL,
    bytes    BIGINT NOT NULL,
    data     TEXT NOT NULL
);

CREATE INDEX captured_by_project ON captured (project, request);
CREATE INDEX captured_by_until ON captured (until_at);

-- +goose Down
DROP TABLE captured;
DROP TABLE consents;
