-- The tables of schema/0004_identity.sql with the same meaning.

CREATE TABLE enrolment_token (
    hash BYTEA NOT NULL PRIMARY KEY,
    node TEXT COLLATE "C" NOT NULL,
    made_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    made_by TEXT COLLATE "C" NOT NULL
);

CREATE TABLE enrolment (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    token BYTEA NOT NULL UNIQUE,
    node TEXT COLLATE "C" NOT NULL,
    signing_key TEXT COLLATE "C" NOT NULL,
    request BYTEA NOT NULL,
    key_hash BYTEA NOT NULL,
    requested_at BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'approved', 'rejected', 'replaced', 'revoked')),
    decided_at BIGINT,
    decided_by TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL
);
CREATE INDEX enrolment_node ON enrolment (node, state);

CREATE TABLE certificate (
    serial TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    node TEXT COLLATE "C" NOT NULL,
    enrolment TEXT COLLATE "C" NOT NULL,
    content BYTEA NOT NULL,
    not_after BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    late_s BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX certificate_node ON certificate (node, issued_at);
