-- Meters without a fresh reading, and why (gridmodel.absence); a meter that is not here has one, or was never read.

CREATE TABLE absence (
    meter TEXT PRIMARY KEY,
    reason TEXT NOT NULL,            -- a value of gridmodel.absence.Absence
    since INTEGER NOT NULL,          -- the first interval end that it missed in a row, UTC seconds
    detail TEXT NOT NULL             -- what the latest try found, with its code
) STRICT, WITHOUT ROWID;
CREATE INDEX absence_by_reason ON absence (reason);
