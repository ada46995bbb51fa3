-- +goose Up
-- The models that a key may call. JSON array of names; empty = all.
ALTER TABLE api_keys ADD COLUMN models TEXT NOT NULL DEFAULT '[]';

-- +goose Down
ALTER TABLE api_keys DROP COLUMN models;
