-- +goose Up
-- The widest scope over money of whoever set a budget: admin, organisation or platform.
ALTER TABLE budgets ADD COLUMN set_from TEXT NOT NULL DEFAULT 'admin';
CREATE INDEX api_keys_by_maker ON api_keys (created_by);

-- +goose Down
DROP INDEX api_keys_by_maker;
ALTER TABLE budgets DROP COLUMN set_from;
