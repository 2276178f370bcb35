-- The table of schema/0002_field_works.sql with the same meaning.

CREATE TABLE field_work (
    node TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    meter TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    received_at BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'merged', 'refused')),
    code TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    version BIGINT,
    PRIMARY KEY (node, id)
);
CREATE INDEX field_work_waiting ON field_work (node) WHERE state = 'waiting';
CREATE INDEX field_work_recent ON field_work (received_at);
