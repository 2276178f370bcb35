-- Which copy of a node goes on, and its ledger by node: for comparing facts by id after a backup was put back.

CREATE TABLE ticket (                -- the last link of the chain that hub and node share (protocols/sync/attest.py)
    node TEXT PRIMARY KEY,
    ticket BLOB NOT NULL,
    at INTEGER NOT NULL,             -- when the copy that goes on attested last
    challenge BLOB NOT NULL,         -- given to a copy that waits; empty when nobody does
    challenged_at INTEGER NOT NULL   -- when a copy that waits was last heard
) STRICT;

CREATE INDEX ledger_entry_node ON ledger_entry (node, id);
