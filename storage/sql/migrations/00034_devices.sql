-- +goose Up
-- What is known of the devices of a machine. JSON, see health.Board.
CREATE TABLE device_boards (
    machine TEXT NOT NULL PRIMARY KEY,
    board   TEXT NOT NULL
);

-- Nodes whose chips somebody declared by hand. links is JSON: the chips of each link group by number.
CREATE TABLE declared_nodes (
    node       TEXT NOT NULL PRIMARY KEY,
    chip       TEXT NOT NULL,
    chips      BIGINT NOT NULL,
    links      TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE declared_nodes;
DROP TABLE device_boards;
