-- +goose Up
CREATE TABLE organisations (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE projects (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL REFERENCES organisations (id),
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (org_id, name)
);

CREATE TABLE members (
    project_id TEXT NOT NULL REFERENCES projects (id),
    email      TEXT NOT NULL,
    role       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, email)
);

CREATE TABLE api_keys (
    id          TEXT PRIMARY KEY,
    org_id      TEXT NOT NULL REFERENCES organisations (id),
    project_id  TEXT NOT NULL REFERENCES projects (id),
    name        TEXT NOT NULL,
    role        TEXT NOT NULL,
    scopes      TEXT NOT NULL,
    member      TEXT NOT NULL,
    hint        TEXT NOT NULL,
    hash        TEXT NOT NULL UNIQUE,
    rpm         BIGINT NOT NULL,
    tpm         BIGINT NOT NULL,
    concurrency BIGINT NOT NULL,
    expires_at  BIGINT,
    revoked_at  BIGINT,
    created_by  TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE INDEX api_keys_by_project ON api_keys (project_id);

CREATE TABLE budgets (
    scope        TEXT NOT NULL,
    id           TEXT NOT NULL,
    org_id       TEXT NOT NULL REFERENCES organisations (id),
    limit_micros BIGINT NOT NULL,
    PRIMARY KEY (scope, id)
);

-- One row. Every change of tenancy raises it first, which also makes the writers of PostgreSQL wait for each other.
CREATE TABLE tenancy_generation (
    id         BIGINT PRIMARY KEY,
    generation BIGINT NOT NULL
);

INSERT INTO tenancy_generation (id, generation) VALUES (1, 1);

-- +goose Down
DROP TABLE tenancy_generation;
DROP TABLE budgets;
DROP TABLE api_keys;
DROP TABLE members;
DROP TABLE projects;
DROP TABLE organisations;
