-- The hub's database: what the nodes proved, the balances moved by it, and what goes down to each node.
-- Times are UTC seconds, money tiyin, energy Wh. Blobs named `state` are packed by central_sync/balance/cells.
-- `hash` is the keyed row hash over the row.

CREATE TABLE hub_state (             -- small marks: incarnation, last audit
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Nodes and their lanes --------------------------------------------------------------------------------------------
CREATE TABLE node (
    id TEXT PRIMARY KEY,
    public_key TEXT NOT NULL,
    districts TEXT NOT NULL,         -- JSON list of SOATO codes
    epoch INTEGER NOT NULL,          -- the highest ever minted for it; 0 before the first hello
    last_seen INTEGER,               -- the latest authentic exchange
    status BLOB,                     -- the latest node_status, packed
    status_at INTEGER
) STRICT;

CREATE TABLE lane (                  -- how far each lane up is durable here
    node TEXT NOT NULL,
    lane TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (node, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE fork_request (          -- a hello that asked for a new epoch is answered once, however often it comes
    node TEXT NOT NULL,
    lane TEXT NOT NULL,
    nonce BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    minted_at INTEGER NOT NULL,
    PRIMARY KEY (node, lane, nonce)
) STRICT, WITHOUT ROWID;

CREATE TABLE batch (                 -- every batch that was authentic and in sequence
    node TEXT NOT NULL,
    lane TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    digest BLOB NOT NULL,
    registry_version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('applied', 'quarantined')),
    code TEXT NOT NULL,              -- of the quarantine; empty when applied
    reason TEXT NOT NULL,
    data BLOB,                       -- the whole batch as it came while it is quarantined; NULL otherwise
    PRIMARY KEY (node, lane, epoch, seq)
) STRICT;
CREATE INDEX batch_quarantined ON batch (node, registry_version) WHERE outcome = 'quarantined';

CREATE TABLE link_span (             -- contact without a pause: how the link was
    node TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (node, began_at)
) STRICT, WITHOUT ROWID;

-- Registries --------------------------------------------------------------------------------------------------------
CREATE TABLE registry (
    node TEXT NOT NULL,
    version INTEGER NOT NULL,
    document BLOB NOT NULL,          -- packed
    received_at INTEGER NOT NULL,
    PRIMARY KEY (node, version)
) STRICT;

CREATE TABLE owner (                 -- which node speaks for what; one node only
    kind TEXT NOT NULL CHECK (kind IN ('transformer', 'supply_point', 'usage_point', 'account', 'meter')),
    id TEXT NOT NULL,
    node TEXT NOT NULL,
    usage_point TEXT,                -- of an account
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX owner_node ON owner (node, kind);
CREATE INDEX owner_point ON owner (usage_point) WHERE usage_point IS NOT NULL;

-- Energy ------------------------------------------------------------------------------------------------------------
CREATE TABLE chunk (                 -- as received: the node's segment, the wire's payload and this blob are one format
    id TEXT PRIMARY KEY,             -- hexadecimal SHA-256 of the blob
    node TEXT NOT NULL,
    day TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    registry_version INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT;
CREATE INDEX chunk_day ON chunk (node, day);

CREATE TABLE place_day (             -- the hours in force of one transformer or supply point
    place TEXT NOT NULL,
    day TEXT NOT NULL,
    node TEXT NOT NULL,
    kind TEXT NOT NULL,              -- transformer, feeder_head, boundary, generator
    state BLOB NOT NULL,             -- 24 x (cell, known/final, epoch, number)
    booked TEXT NOT NULL,            -- under which areas each span of hours stands, JSON
    chunk TEXT,                      -- whence the final hours are
    PRIMARY KEY (place, day)
) STRICT;
CREATE INDEX place_day_node ON place_day (node, day);

CREATE TABLE balance_day (
    level TEXT NOT NULL,
    area TEXT NOT NULL,
    day TEXT NOT NULL,
    node TEXT NOT NULL,
    state BLOB NOT NULL,             -- 24 x (cell, places known, places final)
    PRIMARY KEY (level, day, area, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE balance_month (
    level TEXT NOT NULL,
    area TEXT NOT NULL,
    month TEXT NOT NULL,
    node TEXT NOT NULL,
    state BLOB NOT NULL,             -- 1 x (cell, place-hours known, place-hours final)
    PRIMARY KEY (level, month, area, node)
) STRICT, WITHOUT ROWID;

-- Money -------------------------------------------------------------------------------------------------------------
CREATE TABLE ledger_entry (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount_tiyin INTEGER NOT NULL,
    at INTEGER NOT NULL,
    due_at INTEGER,
    channel TEXT NOT NULL,
    recorded_by TEXT NOT NULL,
    reverses TEXT,
    node TEXT NOT NULL,              -- whose account it is
    origin TEXT NOT NULL CHECK (origin IN ('node', 'import')),
    received_at INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX ledger_entry_account ON ledger_entry (account, at);

CREATE TABLE ledger_conflict (       -- one id with two contents: the first stands, the second is shown
    id TEXT NOT NULL,
    content TEXT NOT NULL,
    node TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (id, content)
) STRICT, WITHOUT ROWID;

CREATE TABLE watermark (
    channel TEXT PRIMARY KEY,
    complete_up_to INTEGER NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;

CREATE TABLE issued (                -- notices, protections, weather, mandates: one id, one content
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    node TEXT NOT NULL,
    subject TEXT NOT NULL,           -- account, usage point or district
    content TEXT NOT NULL,           -- JSON
    issued_at INTEGER NOT NULL,
    PRIMARY KEY (kind, id, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX issued_subject ON issued (kind, subject);

-- What the nodes report ---------------------------------------------------------------------------------------------
CREATE TABLE relay_operation (
    node TEXT NOT NULL,
    id TEXT NOT NULL,
    usage_point TEXT NOT NULL,
    meter TEXT NOT NULL,
    transformer TEXT NOT NULL,
    action TEXT NOT NULL,
    cause TEXT NOT NULL,
    basis BLOB NOT NULL,
    mandate TEXT,
    intent_at INTEGER NOT NULL,
    sent_at INTEGER,
    result_at INTEGER,
    outcome TEXT,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (node, id)
) STRICT;
CREATE INDEX relay_operation_recent ON relay_operation (intent_at);
CREATE INDEX relay_operation_point ON relay_operation (usage_point, intent_at);

CREATE TABLE alarm (
    node TEXT NOT NULL,              -- empty: the hub itself
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    detail TEXT NOT NULL,
    cleared_at INTEGER,
    PRIMARY KEY (node, id)
) STRICT;
CREATE INDEX alarm_recent ON alarm (at);
CREATE INDEX alarm_standing ON alarm (node, at) WHERE cleared_at IS NULL;

CREATE TABLE audit_head (
    node TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (node, id)
) STRICT, WITHOUT ROWID;

-- Down to the nodes -------------------------------------------------------------------------------------------------
CREATE TABLE down_item (             -- per node and lane a log; the offset is assigned under the node's lock
    node TEXT NOT NULL,
    lane TEXT NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (node, lane, number)
) STRICT;

CREATE TABLE down_mark (             -- how far the node says it has durably
    node TEXT NOT NULL,
    lane TEXT NOT NULL,
    number INTEGER NOT NULL,
    heard_at INTEGER NOT NULL,
    PRIMARY KEY (node, lane)
) STRICT, WITHOUT ROWID;
