-- +goose Up
-- What was decided about requests that failed, and about a share of the others. body is JSON, see gateway.Explanation.
CREATE TABLE request_explanations (
    request TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    at      BIGINT NOT NULL,
    body    TEXT NOT NULL
);

CREATE INDEX request_explanations_by_time ON request_explanations (at);

-- +goose Down
DROP TABLE request_explanations;
