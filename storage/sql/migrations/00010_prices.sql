-- +goose Up
-- Prices of every kind of token and of a request, what of the tokens was cached, reasoning or embedded, who answered, and
-- what it took of the chips.
ALTER TABLE usage_records ADD COLUMN price_cached BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN price_reasoning BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN price_embedding BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN price_request BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN price_version TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_records ADD COLUMN tag TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_records ADD COLUMN backend TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_records ADD COLUMN chip TEXT NOT NULL DEFAULT '';
ALTER TABLE usage_records ADD COLUMN cached_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN embedding_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN chip_millis BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN chip_nanos BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN first_token_micros BIGINT NOT NULL DEFAULT 0;
UPDATE usage_records SET price_cached = price_in, price_reasoning = price_out, price_embedding = price_in;

ALTER TABLE usage_days ADD COLUMN cached_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_days ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_days ADD COLUMN embedding_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_days ADD COLUMN chip_millis BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_days ADD COLUMN chip_nanos BIGINT NOT NULL DEFAULT 0;

-- -1: as the price that it follows.
ALTER TABLE routes ADD COLUMN price_cached BIGINT NOT NULL DEFAULT -1;
ALTER TABLE routes ADD COLUMN price_reasoning BIGINT NOT NULL DEFAULT -1;
ALTER TABLE routes ADD COLUMN price_embedding BIGINT NOT NULL DEFAULT -1;
ALTER TABLE routes ADD COLUMN price_request BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE routes DROP COLUMN price_request;
ALTER TABLE routes DROP COLUMN price_embedding;
ALTER TABLE routes DROP COLUMN price_reasoning;
ALTER TABLE routes DROP COLUMN price_cached;
ALTER TABLE usage_days DROP COLUMN chip_nanos;
ALTER TABLE usage_days DROP COLUMN chip_millis;
ALTER TABLE usage_days DROP COLUMN embedding_tokens;
ALTER TABLE usage_days DROP COLUMN reasoning_tokens;
ALTER TABLE usage_days DROP COLUMN cached_tokens;
ALTER TABLE usage_records DROP COLUMN first_token_micros;
ALTER TABLE usage_records DROP COLUMN chip_nanos;
ALTER TABLE usage_records DROP COLUMN chip_millis;
ALTER TABLE usage_records DROP COLUMN embedding_tokens;
ALTER TABLE usage_records DROP COLUMN reasoning_tokens;
ALTER TABLE usage_records DROP COLUMN cached_tokens;
ALTER TABLE usage_records DROP COLUMN chip;
ALTER TABLE usage_records DROP COLUMN backend;
ALTER TABLE usage_records DROP COLUMN tag;
ALTER TABLE usage_records DROP COLUMN price_version;
ALTER TABLE usage_records DROP COLUMN price_request;
ALTER TABLE usage_records DROP COLUMN price_embedding;
ALTER TABLE usage_records DROP COLUMN price_reasoning;
ALTER TABLE usage_records DROP COLUMN price_cached;
