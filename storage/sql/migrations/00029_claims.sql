-- +goose Up
-- Who may write as the control plane: the number is raised by whoever takes the name, and each write of its holder proves
-- that it is still that one.
CREATE TABLE claims (
    name   TEXT PRIMARY KEY,
    number BIGINT NOT NULL
);

-- +goose Down
DROP TABLE claims;
