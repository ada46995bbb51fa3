-- +goose Up
-- What scheduling has made of a job: held, placement, preemptions, running time. JSON, see job.Standing.
ALTER TABLE jobs ADD COLUMN standing TEXT NOT NULL DEFAULT '{}';

-- What a run and the replicas of a deployment ask of the scheduler. JSON, see job.Ask.
ALTER TABLE runs ADD COLUMN ask TEXT NOT NULL DEFAULT '{}';
ALTER TABLE deployments ADD COLUMN ask TEXT NOT NULL DEFAULT '{}';
ALTER TABLE deployments ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;

-- What the queue of a project is promised and bounded by. guarantee and ceiling are JSON: chips by class.
CREATE TABLE quotas (
    project   TEXT NOT NULL PRIMARY KEY REFERENCES projects (id),
    weight    BIGINT NOT NULL,
    guarantee TEXT NOT NULL,
    ceiling   TEXT NOT NULL
);

-- Parts of what is left that an organisation gets beside the others; one where there is no row.
CREATE TABLE organisation_weights (
    org    TEXT NOT NULL PRIMARY KEY REFERENCES organisations (id),
    weight BIGINT NOT NULL
);

-- What an operator said of a node.
CREATE TABLE node_marks (
    node     TEXT NOT NULL PRIMARY KEY,
    draining BIGINT NOT NULL,
    reason   TEXT NOT NULL,
    since    BIGINT NOT NULL
);

-- +goose Down
DROP TABLE node_marks;
DROP TABLE organisation_weights;
DROP TABLE quotas;
ALTER TABLE deployments DROP COLUMN priority;
ALTER TABLE deployments DROP COLUMN ask;
ALTER TABLE runs DROP COLUMN ask;
ALTER TABLE jobs DROP COLUMN standing;
