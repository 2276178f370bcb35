-- What fitters did to meters, as recorded at this office. They hold over the registry that the hub sent until one comes
-- down with them in it, and over every later one that lacks them.

CREATE TABLE field_work (
    id TEXT PRIMARY KEY,             -- made before anything was written: recorded twice, it is one
    at INTEGER NOT NULL,             -- when it was done, UTC seconds
    body BLOB NOT NULL,              -- packed (protocols/sync/field_works.py), the very bytes that the hub is sent
    recorded_at INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX field_work_recorded ON field_work (recorded_at);
