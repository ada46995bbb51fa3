-- +goose Up
-- Which element of which array a job is, as in its spec; leads is 1 for the one with the lowest index, which stands for the
-- array in lists.
ALTER TABLE jobs ADD COLUMN array_id TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN element BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN leads BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX jobs_by_array ON jobs (array_id, element) WHERE array_id <> '';
CREATE INDEX jobs_by_name ON jobs (project, name, created_at);

-- +goose Down
DROP INDEX jobs_by_name;
DROP INDEX jobs_by_array;
ALTER TABLE jobs DROP COLUMN leads;
ALTER TABLE jobs DROP COLUMN element;
ALTER TABLE jobs DROP COLUMN array_id;
