-- +goose Up
-- What a deployment or run was refused for before its caller went on all the same; empty: nothing.
ALTER TABLE deployments ADD COLUMN forced TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN forced TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE runs DROP COLUMN forced;
ALTER TABLE deployments DROP COLUMN forced;
