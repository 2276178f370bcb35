-- A month of readings of one node: intervals, the registers they were made from, and the sealed days.
-- The month is the local one of each interval's day. Times are UTC seconds, intervals stamped by their end, energy
-- primary Wh. Every table is STRICT; `hash` is the keyed row hash over the row.

CREATE TABLE segment (               -- small marks: begun, folded_to
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE point (                 -- the dictionary: a channel of a usage or supply point under a short number
    number INTEGER PRIMARY KEY,
    point TEXT NOT NULL,
    channel INTEGER NOT NULL,
    hash BLOB NOT NULL,
    UNIQUE (point, channel)
) STRICT;

CREATE TABLE reading (               -- keyed by time first: a poll round appends, it does not touch a page per point
    end INTEGER NOT NULL,
    point INTEGER NOT NULL,          -- number in `point`
    energy_wh INTEGER NOT NULL,
    quality INTEGER NOT NULL,        -- 0 actual, 1 estimated, 2 suspect; what is missing has no row
    register_wh INTEGER,             -- at `end`, when it was read
    epoch INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (end, point)
) STRICT, WITHOUT ROWID;

CREATE TABLE last_register (         -- what the next read is measured against, as of `at`; plain readings after the
    point INTEGER PRIMARY KEY,       -- mark `folded_to` carry it on. Copied on when a month begins; newest segment only.
    meter TEXT NOT NULL,
    at INTEGER NOT NULL,
    register_wh INTEGER NOT NULL,
    still_since INTEGER NOT NULL,
    doubt_at INTEGER,
    doubt_register_wh INTEGER,
    quality INTEGER,                 -- of the interval that ended at `at`; NULL when the register only began a count
    hash BLOB NOT NULL
) STRICT;

CREATE TABLE touched_hour (          -- hours with readings that no close has seen yet; deleted only at the same count
    hour_end INTEGER PRIMARY KEY,
    touches INTEGER NOT NULL
) STRICT;

CREATE TABLE chunk (                 -- sealed days: outbox payload, wire batch and the hub's blob are these bytes
    id TEXT PRIMARY KEY,
    day TEXT NOT NULL,
    number INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    registry_version INTEGER NOT NULL,
    payload BLOB NOT NULL,
    digest BLOB NOT NULL             -- SHA-256 of the payload
) STRICT;
CREATE INDEX chunk_day ON chunk (day, number);
