-- Who may speak as which node: tokens, enrolments that a person decided, and every certificate that was issued.

CREATE TABLE enrolment_token (
    hash BLOB NOT NULL PRIMARY KEY,  -- SHA-256 of the secret half; the secret itself is nowhere here
    node TEXT NOT NULL,
    made_at INTEGER NOT NULL,        -- UTC seconds, as all times here
    ends_at INTEGER NOT NULL,
    made_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE enrolment (
    id TEXT NOT NULL PRIMARY KEY,
    token BLOB NOT NULL UNIQUE,      -- one token, one enrolment
    node TEXT NOT NULL,
    signing_key TEXT NOT NULL,       -- ed25519:… of the node
    request BLOB NOT NULL,           -- PKCS #10
    key_hash BLOB NOT NULL,          -- SHA-256 of the TLS key in it
    requested_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'approved', 'rejected', 'replaced', 'revoked')),
    decided_at INTEGER,
    decided_by TEXT NOT NULL,        -- empty while it waits
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX enrolment_node ON enrolment (node, state);

CREATE TABLE certificate (
    serial TEXT NOT NULL PRIMARY KEY,
    node TEXT NOT NULL,
    enrolment TEXT NOT NULL,
    content BLOB NOT NULL,           -- DER
    not_after INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    late_s INTEGER NOT NULL,         -- the one before had ended so long ago when this was asked for
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX certificate_node ON certificate (node, issued_at);
