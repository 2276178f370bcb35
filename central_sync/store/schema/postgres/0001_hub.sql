-- The hub's database on PostgreSQL: the tables of schema/0001_hub.sql with the same meaning; there each column is told.
-- Texts are ordered by their bytes (COLLATE "C"), as SQLite does it, whatever the database's own order is. What is packed
-- already is not compressed once more (STORAGE EXTERNAL).

CREATE TABLE hub_state (
    key TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- Nodes and their lanes --------------------------------------------------------------------------------------------
CREATE TABLE node (
    id TEXT COLLATE "C" PRIMARY KEY,
    public_key TEXT COLLATE "C" NOT NULL,
    districts TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    last_seen BIGINT,
    status BYTEA,
    status_at BIGINT
);

CREATE TABLE lane (
    node TEXT COLLATE "C" NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (node, lane)
);

CREATE TABLE fork_request (
    node TEXT COLLATE "C" NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    nonce BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    minted_at BIGINT NOT NULL,
    PRIMARY KEY (node, lane, nonce)
);

CREATE TABLE batch (
    node TEXT COLLATE "C" NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    registry_version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL CHECK (outcome IN ('applied', 'quarantined')),
    code TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    data BYTEA,
    PRIMARY KEY (node, lane, epoch, seq)
);
CREATE INDEX batch_quarantined ON batch (node, registry_version) WHERE outcome = 'quarantined';

CREATE TABLE link_span (
    node TEXT COLLATE "C" NOT NULL,
    began_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (node, began_at)
);

-- Registries --------------------------------------------------------------------------------------------------------
CREATE TABLE registry (
    node TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    document BYTEA NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (node, version)
);

CREATE TABLE owner (
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('transformer', 'supply_point', 'usage_point', 'account', 'meter')),
    id TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    usage_point TEXT COLLATE "C",
    PRIMARY KEY (kind, id)
);
CREATE INDEX owner_node ON owner (node, kind);
CREATE INDEX owner_point ON owner (usage_point) WHERE usage_point IS NOT NULL;

-- Energy ------------------------------------------------------------------------------------------------------------
CREATE TABLE chunk (
    id TEXT COLLATE "C" PRIMARY KEY,
    node TEXT COLLATE "C" NOT NULL,
    day TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    number BIGINT NOT NULL,
    registry_version BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    content BYTEA NOT NULL
);
CREATE INDEX chunk_day ON chunk (node, day);

CREATE TABLE place_day (
    place TEXT COLLATE "C" NOT NULL,
    day TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    state BYTEA NOT NULL,
    booked TEXT COLLATE "C" NOT NULL,
    chunk TEXT COLLATE "C",
    PRIMARY KEY (place, day)
);
CREATE INDEX place_day_node ON place_day (node, day);

CREATE TABLE balance_day (
    level TEXT COLLATE "C" NOT NULL,
    area TEXT COLLATE "C" NOT NULL,
    day TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    state BYTEA NOT NULL,
    PRIMARY KEY (level, day, area, node)
);

CREATE TABLE balance_month (
    level TEXT COLLATE "C" NOT NULL,
    area TEXT COLLATE "C" NOT NULL,
    month TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    state BYTEA NOT NULL,
    PRIMARY KEY (level, month, area, node)
);

-- Money -------------------------------------------------------------------------------------------------------------
CREATE TABLE ledger_entry (
    id TEXT COLLATE "C" PRIMARY KEY,
    account TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    amount_tiyin BIGINT NOT NULL,
    at BIGINT NOT NULL,
    due_at BIGINT,
    channel TEXT COLLATE "C" NOT NULL,
    recorded_by TEXT COLLATE "C" NOT NULL,
    reverses TEXT COLLATE "C",
    node TEXT COLLATE "C" NOT NULL,
    origin TEXT COLLATE "C" NOT NULL CHECK (origin IN ('node', 'import')),
    received_at BIGINT NOT NULL,
    hash BYTEA NOT NULL
);
CREATE INDEX ledger_entry_account ON ledger_entry (account, at);

CREATE TABLE ledger_conflict (
    id TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    seen_at BIGINT NOT NULL
);

-- A content may be longer than what an index holds; two with one such hash are one conflict here.
CREATE UNIQUE INDEX ledger_conflict_content ON ledger_conflict (id, hashtextextended(content, 0));

CREATE TABLE watermark (
    channel TEXT COLLATE "C" PRIMARY KEY,
    complete_up_to BIGINT NOT NULL,
    received_at BIGINT NOT NULL
);

CREATE TABLE issued (
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C" NOT NULL,
    issued_at BIGINT NOT NULL,
    PRIMARY KEY (kind, id, node)
);
CREATE INDEX issued_subject ON issued (kind, subject);

-- What the nodes report ---------------------------------------------------------------------------------------------
CREATE TABLE relay_operation (
    node TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    usage_point TEXT COLLATE "C" NOT NULL,
    meter TEXT COLLATE "C" NOT NULL,
    transformer TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    cause TEXT COLLATE "C" NOT NULL,
    basis BYTEA NOT NULL,
    mandate TEXT COLLATE "C",
    intent_at BIGINT NOT NULL,
    sent_at BIGINT,
    result_at BIGINT,
    outcome TEXT COLLATE "C",
    received_at BIGINT NOT NULL,
    PRIMARY KEY (node, id)
);
CREATE INDEX relay_operation_recent ON relay_operation (intent_at);
CREATE INDEX relay_operation_point ON relay_operation (usage_point, intent_at);

CREATE TABLE alarm (
    node TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    detail TEXT COLLATE "C" NOT NULL,
    cleared_at BIGINT,
    PRIMARY KEY (node, id)
);
CREATE INDEX alarm_recent ON alarm (at);
CREATE INDEX alarm_standing ON alarm (node, at) WHERE cleared_at IS NULL;

CREATE TABLE audit_head (
    node TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (node, id)
);

-- Down to the nodes -------------------------------------------------------------------------------------------------
CREATE TABLE down_item (
    node TEXT COLLATE "C" NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (node, lane, number)
);

CREATE TABLE down_mark (
    node TEXT COLLATE "C" NOT NULL,
    lane TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    heard_at BIGINT NOT NULL,
    PRIMARY KEY (node, lane)
);

ALTER TABLE batch ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE registry ALTER COLUMN document SET STORAGE EXTERNAL;
ALTER TABLE chunk ALTER COLUMN content SET STORAGE EXTERNAL;
