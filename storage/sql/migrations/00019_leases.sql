-- +goose Up
-- Gateways and control planes that spend leases. epoch is raised by whoever takes the node's place; seen is when it last
-- said that it lives, microseconds.
CREATE TABLE gateway_nodes (
    id    TEXT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    seen  BIGINT NOT NULL
);

-- What the records say that an organisation, project, key, member or model spent: a projection, kept for those of which
-- money was ever leased. short_until is until when a node is short of it.
CREATE TABLE accounts (
    id          TEXT PRIMARY KEY,
    spent       BIGINT NOT NULL,
    short_until BIGINT NOT NULL,
    short_node  TEXT NOT NULL
);

-- What each node has of an account's limits. Money: granted since the node began, less what its stored records cost.
-- Requests and tokens are of one minute since 1970; places at once hold while the node lives.
CREATE TABLE leases (
    account  TEXT NOT NULL,
    node     TEXT NOT NULL,
    granted  BIGINT NOT NULL,
    shipped  BIGINT NOT NULL,
    minute   BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    tokens   BIGINT NOT NULL,
    places   BIGINT NOT NULL,
    PRIMARY KEY (account, node)
);

CREATE INDEX leases_by_node ON leases (node);

-- What stands behind deployments, sealed, as the control plane tells it to gateways: one row, raised whenever that or a
-- route changes.
CREATE TABLE published (
    one        BIGINT PRIMARY KEY CHECK (one = 1),
    generation BIGINT NOT NULL,
    sealed     TEXT NOT NULL
);

-- +goose Down
DROP TABLE published;
DROP TABLE leases;
DROP TABLE accounts;
DROP TABLE gateway_nodes;
