-- +goose Up
-- Requests of the model API, many of one project in each row; see seen.Block. data is base64.
CREATE TABLE request_log (
    id      TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    first   TEXT NOT NULL,   -- the least id of its requests
    last    TEXT NOT NULL,   -- and the greatest
    entries BIGINT NOT NULL, -- how many
    data    TEXT NOT NULL
);

CREATE INDEX request_log_by_project ON request_log (project, last, id);
CREATE INDEX request_log_by_last ON request_log (last);

-- +goose Down
DROP TABLE request_log;
