-- Secrets of DLMS meters at rest: sealed under a data key, which is wrapped under the node key (a file) and for the
-- offline recovery key. Whoever has this database, or a copy of it, has no secret.

CREATE TABLE data_key (              -- at most one row; its id is bound into both wraps
    id TEXT PRIMARY KEY,             -- a fingerprint, never the key
    node_key TEXT NOT NULL,          -- fingerprint of the node key that unwraps `wrapped`
    wrapped BLOB NOT NULL,
    recovery_key TEXT,               -- fingerprint of the recovery key that unwraps `recovery`; NULL in a demo without one
    recovery BLOB,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE meter_secret (          -- (meter, kind, version) are bound into `sealed`: rows cannot be swapped
    meter TEXT NOT NULL,             -- '*' for meters without secrets of their own
    kind TEXT NOT NULL,              -- password, block_key, authentication_key, hls_secret, meter_title, invocation_counter
    version INTEGER NOT NULL,        -- rises by one when any secret of the meter changes; the same in all its rows
    sealed BLOB NOT NULL,            -- nonce, ciphertext, tag
    written_at INTEGER NOT NULL,
    PRIMARY KEY (meter, kind)
) STRICT, WITHOUT ROWID;
