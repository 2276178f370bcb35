-- The table and indexes of schema/0003_recovery.sql with the same meaning.

CREATE TABLE ticket (
    node TEXT COLLATE "C" PRIMARY KEY,
    ticket BYTEA NOT NULL,
    at BIGINT NOT NULL,
    challenge BYTEA NOT NULL,
    challenged_at BIGINT NOT NULL
);

CREATE INDEX ledger_entry_node ON ledger_entry (node, id);
CREATE INDEX issued_node ON issued (node, kind);
