-- The control database of an edge node: what it is, what it owes the hub, money, permissions, relays.
-- Times are UTC seconds, money tiyin, energy Wh. Every table is STRICT; `hash` is the keyed row hash over the row.

CREATE TABLE node_state (            -- small marks: store incarnation, hub incarnation, reconciled, clock floor
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE registry (              -- versions of what is installed where; the highest one holds
    version INTEGER PRIMARY KEY,
    document BLOB NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;

-- Up to the hub ---------------------------------------------------------------------------------------------------
CREATE TABLE lane (                  -- where each lane stands; `hash` is that of the last sealed header
    lane TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    sealed_seq INTEGER NOT NULL,
    sealed_hash BLOB NOT NULL,
    acked_seq INTEGER NOT NULL,
    acked_hash BLOB NOT NULL
) STRICT;

CREATE TABLE outbox_record (         -- facts for the hub, written in the transaction that made the fact
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body BLOB NOT NULL,              -- packed dict; of kind `chunk` the reference into the segments
    created_at INTEGER NOT NULL,
    epoch INTEGER,                   -- of the batch that carries it; NULL while it waits to be sealed
    seq INTEGER
) STRICT;
CREATE INDEX outbox_record_waiting ON outbox_record (lane, number) WHERE seq IS NULL;
CREATE INDEX outbox_record_batch ON outbox_record (lane, epoch, seq);

CREATE TABLE outbox_batch (          -- sealed before it is sent, kept after it is acknowledged
    lane TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    header BLOB NOT NULL,
    payload BLOB,                    -- NULL for a chunk: its payload lies in the segments
    chunk_day TEXT,
    chunk_id TEXT,
    created_at INTEGER NOT NULL,
    acked_at INTEGER,
    outcome TEXT,                    -- applied, quarantined, duplicate
    reason TEXT,
    PRIMARY KEY (lane, epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_batch_unacked ON outbox_batch (lane, epoch, seq) WHERE acked_at IS NULL;
CREATE INDEX outbox_batch_acked ON outbox_batch (acked_at) WHERE acked_at IS NOT NULL;  -- a scan reads every payload
CREATE INDEX outbox_batch_aside ON outbox_batch (acked_at) WHERE outcome = 'quarantined';

-- Down from the hub -----------------------------------------------------------------------------------------------
CREATE TABLE downlink (
    lane TEXT PRIMARY KEY,
    next_offset INTEGER NOT NULL
) STRICT;

CREATE TABLE downlink_refused (      -- items this program could not take in: kept whole, shown, tried again
    lane TEXT NOT NULL,
    offset INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body BLOB NOT NULL,
    code TEXT NOT NULL,
    what TEXT NOT NULL,
    refused_at INTEGER NOT NULL,
    PRIMARY KEY (lane, offset)
) STRICT, WITHOUT ROWID;

-- Money -----------------------------------------------------------------------------------------------------------
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
    origin TEXT NOT NULL CHECK (origin IN ('desk', 'hub')),
    received_at INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX ledger_entry_account ON ledger_entry (account);

CREATE TABLE ledger_conflict (       -- one id with two contents: the first stands, the second is shown
    id TEXT NOT NULL,
    content BLOB NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (id, content)
) STRICT, WITHOUT ROWID;

CREATE TABLE watermark (             -- per payment channel: every payment up to then is here
    channel TEXT PRIMARY KEY,
    complete_up_to INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;

CREATE TABLE payment_request (       -- the desk's own name for a payment: asked twice, taken once
    request TEXT PRIMARY KEY,
    entry TEXT NOT NULL
) STRICT;

CREATE TABLE account_debt (          -- worked out from the ledger in the same transaction; candidates for a cut
    account TEXT PRIMARY KEY,        -- its usage point is asked of the registry that holds
    credit_tiyin INTEGER NOT NULL,
    owed_tiyin INTEGER NOT NULL,     -- all open debts, due or not
    first_due_at INTEGER             -- of the oldest open debt
) STRICT;
CREATE INDEX account_debt_due ON account_debt (first_due_at, account) WHERE owed_tiyin > 0;

-- Records ---------------------------------------------------------------------------------------------------------
CREATE TABLE notice (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    amount_tiyin INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    delivered_at INTEGER,
    received_at INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX notice_account ON notice (account, delivered_at);

CREATE TABLE protection (            -- assertions of an observed-remove set
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    usage_point TEXT,
    district TEXT,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER NOT NULL,
    asserted_by TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX protection_point ON protection (usage_point);

CREATE TABLE protection_revoked (    -- names the assertions that it saw; may arrive before them
    id TEXT PRIMARY KEY,
    revoked_by TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;

CREATE TABLE weather (
    district TEXT PRIMARY KEY,
    issued_at INTEGER NOT NULL,
    min_c REAL NOT NULL,
    max_c REAL NOT NULL,
    hash BLOB NOT NULL
) STRICT;

CREATE TABLE mandate (
    id TEXT PRIMARY KEY,
    counter INTEGER NOT NULL,
    document BLOB NOT NULL,          -- as signed
    not_before INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    refused TEXT                     -- why it gives no right; NULL when it does
) STRICT;

CREATE TABLE cuts_stopped (          -- one person at any office, offline
    id TEXT PRIMARY KEY,
    stopped_at INTEGER NOT NULL,
    stopped_by TEXT NOT NULL,
    why TEXT NOT NULL,
    lifted_at INTEGER,
    lifted_by TEXT
) STRICT;

-- Relays ----------------------------------------------------------------------------------------------------------
CREATE TABLE relay (
    usage_point TEXT PRIMARY KEY,
    meter TEXT NOT NULL,
    state TEXT NOT NULL,
    cause TEXT,                      -- why it is dark
    since INTEGER NOT NULL,
    seen_at INTEGER,                 -- when the contact was last read
    load_w INTEGER,
    operation TEXT,                  -- the relay_operation in progress or the last one
    paid_at INTEGER                  -- since when it is paid and dark
) STRICT;
CREATE INDEX relay_not_connected ON relay (usage_point) WHERE state <> 'connected';

CREATE TABLE relay_sighting (        -- what polls saw and the relay room has not handled yet
    usage_point TEXT PRIMARY KEY,
    meter TEXT NOT NULL,
    contact TEXT NOT NULL,
    load_w INTEGER,
    asked_at INTEGER NOT NULL        -- when the read began: older than the last command it proves nothing
) STRICT;

CREATE TABLE relay_operation (       -- intent before, result after; brakes and quotas are counted from here
    id TEXT PRIMARY KEY,
    usage_point TEXT NOT NULL,
    meter TEXT NOT NULL,
    transformer TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('cut', 'restore')),
    cause TEXT NOT NULL,
    basis BLOB NOT NULL,             -- packed: reasons, facts, rules version, mandate, watermark
    mandate TEXT,
    intent_at INTEGER NOT NULL,
    sent_at INTEGER,
    result_at INTEGER,
    outcome TEXT,                    -- confirmed, unconfirmed, withheld, failed, ready
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX relay_operation_point ON relay_operation (usage_point, intent_at);
CREATE INDEX relay_operation_cuts ON relay_operation (intent_at) WHERE action = 'cut';
CREATE INDEX relay_operation_open ON relay_operation (intent_at) WHERE result_at IS NULL;

CREATE TABLE cut_plan (              -- wanted, waiting for its random delay; re-judged before it is carried out
    usage_point TEXT PRIMARY KEY,
    planned_at INTEGER NOT NULL,
    not_before INTEGER NOT NULL
) STRICT;

-- What the node noticed ---------------------------------------------------------------------------------------------
CREATE TABLE alarm (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    detail TEXT NOT NULL,
    cleared_at INTEGER
) STRICT;
CREATE UNIQUE INDEX alarm_standing ON alarm (kind, subject) WHERE cleared_at IS NULL;

-- Balances of closed hours ------------------------------------------------------------------------------------------
CREATE TABLE hour_closed (           -- how far hours are closed, and which revision each is at
    hour_end INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    closed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE hour_cell (             -- per transformer, and per supply point that is no transformer meter
    place TEXT NOT NULL,             -- transformer or supply point
    hour_end INTEGER NOT NULL,
    kind TEXT NOT NULL,              -- transformer, feeder_head, boundary, generator
    cell BLOB NOT NULL,              -- the nine values of HourCell, packed
    revision INTEGER NOT NULL,
    PRIMARY KEY (hour_end, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE day_closed (
    day TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    closed_at INTEGER NOT NULL
) STRICT;
