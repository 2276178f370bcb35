-- What validation and estimation did, for people: how often each rule spoke, and which method gave estimated intervals
-- their shares. Written beside the readings, without a row hash: no energy hangs on it.

CREATE TABLE rule_count (
    day TEXT NOT NULL,               -- local day of the interval that was read
    rule TEXT NOT NULL,              -- gap, reset, …; estimated_own_profile, …
    count INTEGER NOT NULL,
    PRIMARY KEY (day, rule)
) STRICT, WITHOUT ROWID;

CREATE TABLE estimate (              -- one row for a run of intervals that were estimated together. It speaks of those
    point INTEGER NOT NULL,          -- whose `quality` is still 1: the truth replaces the reading and leaves this row.
    end INTEGER NOT NULL,            -- of the last of them
    first INTEGER NOT NULL,          -- end of the first of them
    method INTEGER NOT NULL,         -- 1 interpolation, 2 own profile, 3 neighbours
    PRIMARY KEY (point, end)
) STRICT, WITHOUT ROWID;
