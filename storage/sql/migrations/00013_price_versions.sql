-- +goose Up
-- What a route cost from when on. Never changed after insertion, and kept when the route is gone: usage records name them.
CREATE TABLE price_versions (
    id              TEXT PRIMARY KEY,
    org             TEXT NOT NULL,
    project         TEXT NOT NULL,
    route_id        TEXT NOT NULL,
    route           TEXT NOT NULL,
    price_in        BIGINT NOT NULL,
    price_cached    BIGINT NOT NULL,
    price_out       BIGINT NOT NULL,
    price_reasoning BIGINT NOT NULL,
    price_embedding BIGINT NOT NULL,
    price_request   BIGINT NOT NULL,
    created_by      TEXT NOT NULL,
    created_at      BIGINT NOT NULL
);

CREATE INDEX price_versions_by_project ON price_versions (project, created_at);

ALTER TABLE routes ADD COLUMN price_version TEXT NOT NULL DEFAULT '';
ALTER TABLE routes ADD COLUMN priced_by TEXT NOT NULL DEFAULT '';
ALTER TABLE routes ADD COLUMN priced_at BIGINT NOT NULL DEFAULT 0;
UPDATE routes SET price_version = 'pv_' || substr(id, 5), priced_at = created_at;

INSERT INTO price_versions (id, org, project, route_id, route, price_in, price_cached, price_out, price_reasoning, price_embedding, price_request, created_by, created_at)
SELECT price_version, org, project, id, name, price_in, price_in, price_out, price_out, price_in, 0, '', created_at FROM routes;

-- +goose Down
ALTER TABLE routes DROP COLUMN priced_at;
ALTER TABLE routes DROP COLUMN priced_by;
ALTER TABLE routes DROP COLUMN price_version;
DROP TABLE price_versions;
