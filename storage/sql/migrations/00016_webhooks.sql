-- +goose Up
-- Addresses that are told of budgets. project is empty for those of a whole organisation, thresholds is a JSON array.
CREATE TABLE webhooks (
    id         TEXT PRIMARY KEY,
    org        TEXT NOT NULL REFERENCES organisations (id),
    project    TEXT NOT NULL,
    url        TEXT NOT NULL,
    thresholds TEXT NOT NULL,
    private    BIGINT NOT NULL,
    sealed     TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_error TEXT NOT NULL,
    last_at    BIGINT NOT NULL
);

CREATE INDEX webhooks_by_org ON webhooks (org);

-- What a hook was told of: once for each limit that a budget had.
CREATE TABLE webhook_warnings (
    hook_id      TEXT NOT NULL REFERENCES webhooks (id),
    scope        TEXT NOT NULL,
    id           TEXT NOT NULL,
    limit_micros BIGINT NOT NULL,
    threshold    BIGINT NOT NULL,
    PRIMARY KEY (hook_id, scope, id, limit_micros, threshold)
);

-- Events: due at next_at until done_at is set, because they arrived or were given up.
CREATE TABLE webhook_events (
    id         TEXT PRIMARY KEY,
    hook_id    TEXT NOT NULL REFERENCES webhooks (id),
    body       TEXT NOT NULL,
    attempts   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    next_at    BIGINT NOT NULL,
    done_at    BIGINT
);

CREATE INDEX webhook_events_by_time ON webhook_events (done_at, next_at);
CREATE INDEX webhook_events_by_hook ON webhook_events (hook_id);

-- +goose Down
DROP TABLE webhook_events;
DROP TABLE webhook_warnings;
DROP TABLE webhooks;
