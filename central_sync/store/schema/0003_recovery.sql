-- Which copy of a node goes on, its ledger by node (facts are compared by id after a backup was put back), and counts of
-- what was issued to it.

CREATE TABLE ticket (                -- the last link of the chain that hub and node share (protocols/sync/attest.py)
    node TEXT PRIMARY KEY,
    ticket BLOB NOT NULL,
    at INTEGER NOT NULL,             -- when the copy that goes on attested last
    challenge BLOB NOT NULL,         -- given to a copy that waits; empty when nobody does
    challenged_at INTEGER NOT NULL   -- when a copy that waits was last heard
) STRICT;

CREATE INDEX ledger_entry_node ON ledger_entry (node, id);
CREATE INDEX issued_node ON issued (node, kind);
