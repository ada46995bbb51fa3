-- +goose Up
-- How requests of a route are let through to what it leads to. JSON, see serve.Policy.
ALTER TABLE routes ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';

-- +goose Down
ALTER TABLE routes DROP COLUMN policy;
