-- +goose Up
-- New backends of routes that are on trial, and those that were; see serve.Canary. live_route is the route while the trial goes
-- on. version is raised by each change of it.
CREATE TABLE route_canaries (
    id            TEXT PRIMARY KEY,
    project       TEXT NOT NULL,
    route_id      TEXT NOT NULL,
    live_route    TEXT UNIQUE,
    deployment_id TEXT NOT NULL, -- empty: a provider's model
    provider_id   TEXT NOT NULL,
    model         TEXT NOT NULL, -- as the provider calls it
    rule          TEXT NOT NULL, -- JSON, see canary.Rule
    state         TEXT NOT NULL,
    step          BIGINT NOT NULL,
    looks         BIGINT NOT NULL,
    since         BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    created_by    TEXT NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE INDEX route_canaries_by_route ON route_canaries (route_id, created_at);
CREATE INDEX route_canaries_by_deployment ON route_canaries (deployment_id);
CREATE INDEX route_canaries_by_provider ON route_canaries (provider_id);

-- What was decided about them, and by what numbers: JSON, see serve.CanaryEvent.
CREATE TABLE canary_events (
    canary_id TEXT NOT NULL REFERENCES route_canaries (id),
    number    BIGINT NOT NULL,
    event     TEXT NOT NULL,
    PRIMARY KEY (canary_id, number)
);

-- What each life of each gateway has counted of a step since it began, in place of what it told before; see canary.Count.
CREATE TABLE canary_counts (
    canary_id TEXT NOT NULL,
    step      BIGINT NOT NULL,
    life      TEXT NOT NULL,
    trial     TEXT NOT NULL,
    stable    TEXT NOT NULL,
    PRIMARY KEY (canary_id, step, life)
);

-- +goose Down
DROP TABLE canary_counts;
DROP TABLE canary_events;
DROP TABLE route_canaries;
