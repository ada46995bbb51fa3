-- +goose Up
-- A removed version that a run used stays as a row, so that lineage can name it; 0: it is not removed.
ALTER TABLE data_versions ADD COLUMN removed_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX runs_by_time ON runs (project, created_at, id);
CREATE INDEX runs_by_data ON runs (data_version);

-- +goose Down
DROP INDEX runs_by_data;
DROP INDEX runs_by_time;
ALTER TABLE data_versions DROP COLUMN removed_at;
