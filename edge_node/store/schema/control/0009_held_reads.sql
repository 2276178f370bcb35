-- Registers read while the time was not known: kept with the moment of the steady clock, stamped once the time is known.

CREATE TABLE held_read (
    number INTEGER PRIMARY KEY,      -- in the order of reading
    boot TEXT NOT NULL,              -- of the machine; a moment of another boot is never placed in time
    reads INTEGER NOT NULL,          -- how many stand in the row
    doubts TEXT NOT NULL,            -- why the time was not known: values of gridmodel.clock.ClockDoubt, by commas
    body BLOB NOT NULL               -- [[meter, point, steady second in ms, {channel: meter-side Wh}], ...] as JSON, zlib
) STRICT;

-- Payments taken while the time was not known: their stamp is the beginning of what the present could be.
CREATE TABLE payment_time (
    entry TEXT PRIMARY KEY,          -- the ledger entry
    earliest INTEGER NOT NULL,       -- UTC seconds
    latest INTEGER NOT NULL,
    doubts TEXT NOT NULL             -- values of gridmodel.clock.ClockDoubt, by commas
) STRICT, WITHOUT ROWID;
