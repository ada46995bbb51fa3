-- +goose Up
-- Models on their way from hubs; see pulls.Pull. live is project, model and key of one that is not done: a repeated request finds it.
CREATE TABLE pulls (
    id         TEXT PRIMARY KEY,
    project    TEXT NOT NULL,
    model      TEXT NOT NULL,
    live       TEXT UNIQUE,
    state      TEXT NOT NULL,
    spec       TEXT NOT NULL, -- JSON, see hub.Spec
    ended      TEXT NOT NULL, -- JSON: how it ended
    progress   TEXT NOT NULL, -- JSON, see hub.Progress
    sealed     TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE INDEX pulls_by_project ON pulls (project, created_at);
CREATE INDEX pulls_by_state ON pulls (state, created_at);

-- +goose Down
DROP TABLE pulls;
