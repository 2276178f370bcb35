-- What offices recorded of meters: kept as it came, and what became of it in the newest registry of its node.

CREATE TABLE field_work (
    node TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,             -- when it was done, UTC seconds
    meter TEXT NOT NULL,             -- the new one of an exchange
    body BLOB NOT NULL,              -- packed (protocols/sync/field_works.py)
    received_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'merged', 'refused')),
    code TEXT NOT NULL,              -- of the latest refusal; else empty
    reason TEXT NOT NULL,
    version INTEGER,                 -- the registry that has it; NULL while it waits or is refused
    PRIMARY KEY (node, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX field_work_waiting ON field_work (node) WHERE state = 'waiting';
CREATE INDEX field_work_recent ON field_work (received_at);
