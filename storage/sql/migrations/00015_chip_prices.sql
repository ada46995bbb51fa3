-- +goose Up
-- What an hour of one chip costs the operator, in micro-units, by class of chip.
CREATE TABLE chip_prices (
    chip        TEXT PRIMARY KEY,
    hour_micros BIGINT NOT NULL
);

-- +goose Down
DROP TABLE chip_prices;
