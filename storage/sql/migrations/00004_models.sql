-- +goose Up
CREATE TABLE data_sets (
    project    TEXT NOT NULL,
    name       TEXT NOT NULL,
    next       BIGINT NOT NULL, -- number of the next version; numbers are never used again
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE data_versions (
    id         TEXT PRIMARY KEY,
    project    TEXT NOT NULL,
    name       TEXT NOT NULL,
    number     BIGINT NOT NULL,
    format     TEXT NOT NULL,
    ref        TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    records    BIGINT NOT NULL,
    chars      BIGINT NOT NULL,
    bad        BIGINT NOT NULL,
    bad_lines  TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    FOREIGN KEY (project, name) REFERENCES data_sets (project, name),
    UNIQUE (project, name, number),
    UNIQUE (project, name, format, ref)
);

CREATE TABLE models (
    id         TEXT PRIMARY KEY,
    project    TEXT NOT NULL,
    name       TEXT NOT NULL,
    next       BIGINT NOT NULL, -- number of the next version; numbers are never used again
    created_at BIGINT NOT NULL,
    UNIQUE (project, name)
);

CREATE TABLE model_versions (
    id         TEXT PRIMARY KEY,
    project    TEXT NOT NULL,
    model_id   TEXT NOT NULL REFERENCES models (id),
    number     BIGINT NOT NULL,
    run_id     TEXT, -- of the run that made it: one version a run
    files      TEXT NOT NULL,
    shape      TEXT NOT NULL,
    card       TEXT NOT NULL,
    lineage    TEXT NOT NULL,
    metrics    TEXT NOT NULL,
    curve      TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (model_id, number),
    UNIQUE (project, run_id)
);

CREATE TABLE runs (
    id            TEXT PRIMARY KEY,
    project       TEXT NOT NULL,
    name          TEXT NOT NULL,
    model         TEXT NOT NULL,
    trainer       TEXT NOT NULL,
    data_version  TEXT NOT NULL,
    base          TEXT NOT NULL,
    recipe        TEXT NOT NULL,
    cpus          BIGINT NOT NULL,
    priority      BIGINT NOT NULL,
    job_id        TEXT NOT NULL,
    state         TEXT NOT NULL,
    ended         BIGINT NOT NULL, -- 1 when the state is final
    reason        TEXT NOT NULL,
    fault         TEXT NOT NULL,
    stop          BIGINT NOT NULL,
    estimate      TEXT NOT NULL,
    progress      TEXT NOT NULL,
    metrics       TEXT NOT NULL,
    model_version TEXT NOT NULL,
    created_by    TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    started_at    BIGINT NOT NULL,
    ended_at      BIGINT NOT NULL
);

CREATE INDEX runs_by_project ON runs (project, id);
CREATE INDEX runs_by_end ON runs (ended, data_version);

CREATE TABLE deployments (
    id            TEXT PRIMARY KEY,
    project       TEXT NOT NULL,
    name          TEXT NOT NULL,
    live_name     TEXT, -- the name, NULL once it is being removed: then the name is free again
    model_version TEXT NOT NULL REFERENCES model_versions (id),
    model         TEXT NOT NULL,
    engine        TEXT NOT NULL,
    replicas      BIGINT NOT NULL,
    threads       BIGINT NOT NULL,
    max_context   BIGINT NOT NULL,
    memory_bytes  BIGINT NOT NULL,
    state         TEXT NOT NULL,
    reason        TEXT NOT NULL,
    ready         BIGINT NOT NULL,
    created_by    TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    UNIQUE (project, live_name)
);

CREATE TABLE replicas (
    id            TEXT PRIMARY KEY,
    project       TEXT NOT NULL,
    deployment_id TEXT NOT NULL REFERENCES deployments (id),
    job_id        TEXT NOT NULL,
    leaving       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE INDEX replicas_by_deployment ON replicas (deployment_id);

CREATE TABLE routes (
    id            TEXT PRIMARY KEY,
    org           TEXT NOT NULL,
    project       TEXT NOT NULL,
    name          TEXT NOT NULL,
    shared_name   TEXT, -- organisation and name when shared, else NULL: unique among the shared ones
    deployment_id TEXT NOT NULL REFERENCES deployments (id),
    price_in      BIGINT NOT NULL,
    price_out     BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    UNIQUE (project, name),
    UNIQUE (shared_name)
);

-- +goose Down
DROP TABLE routes;
DROP TABLE replicas;
DROP TABLE deployments;
DROP TABLE runs;
DROP TABLE model_versions;
DROP TABLE models;
DROP TABLE data_versions;
DROP TABLE data_sets;
