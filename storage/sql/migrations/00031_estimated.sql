-- +goose Up
-- Records, and in sums how many of them, whose tokens were estimated in part, since whoever served told no counts.
ALTER TABLE usage_records ADD COLUMN estimated BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_days ADD COLUMN estimated BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_tags ADD COLUMN estimated BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE usage_tags DROP COLUMN estimated;
ALTER TABLE usage_days DROP COLUMN estimated;
ALTER TABLE usage_records DROP COLUMN estimated;
