-- +goose Up
-- Model APIs of others that routes can lead to.
CREATE TABLE providers (
    id         TEXT PRIMARY KEY,
    org        TEXT NOT NULL,
    project    TEXT NOT NULL,
    name       TEXT NOT NULL,
    url        TEXT NOT NULL,
    dialect    TEXT NOT NULL,
    private    BIGINT NOT NULL, -- 1: inner addresses are allowed
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (project, name)
);

-- Their keys, sealed with the installation's key.
CREATE TABLE provider_keys (
    id          TEXT PRIMARY KEY,
    provider_id TEXT NOT NULL REFERENCES providers (id),
    hint        TEXT NOT NULL,
    sealed      TEXT NOT NULL,
    created_by  TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE INDEX provider_keys_by_provider ON provider_keys (provider_id);

-- Where a route leads: the backends of its lowest tier first, by weight, then those of the next one.
CREATE TABLE route_backends (
    route_id      TEXT NOT NULL REFERENCES routes (id),
    place         BIGINT NOT NULL, -- in the order they were named
    tier          BIGINT NOT NULL,
    weight        BIGINT NOT NULL,
    deployment_id TEXT NOT NULL,   -- empty: a provider's model
    provider_id   TEXT NOT NULL,
    model         TEXT NOT NULL,   -- as the provider calls it
    PRIMARY KEY (route_id, place)
);

CREATE INDEX route_backends_by_deployment ON route_backends (deployment_id);
CREATE INDEX route_backends_by_provider ON route_backends (provider_id);

INSERT INTO route_backends (route_id, place, tier, weight, deployment_id, provider_id, model)
SELECT id, 0, 0, 1, deployment_id, '', '' FROM routes;

ALTER TABLE routes DROP COLUMN deployment_id;

-- Further names of routes.
CREATE TABLE route_aliases (
    project     TEXT NOT NULL,
    name        TEXT NOT NULL,
    shared_name TEXT, -- as of routes
    route_id    TEXT NOT NULL REFERENCES routes (id),
    PRIMARY KEY (project, name),
    UNIQUE (shared_name)
);

CREATE INDEX route_aliases_by_route ON route_aliases (route_id);

-- +goose Down
ALTER TABLE routes ADD COLUMN deployment_id TEXT NOT NULL DEFAULT '';
UPDATE routes SET deployment_id = COALESCE((SELECT deployment_id FROM route_backends WHERE route_id = routes.id AND place = 0), '');
DROP TABLE route_aliases;
DROP TABLE route_backends;
DELETE FROM routes WHERE deployment_id = '';
DROP TABLE provider_keys;
DROP TABLE providers;
