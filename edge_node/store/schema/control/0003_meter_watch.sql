-- Clocks of meters: how far each was off when it was last looked at, and every step that was meant for one.

CREATE TABLE meter_clock (
    meter TEXT PRIMARY KEY,
    looked_at INTEGER NOT NULL,
    off_s INTEGER,                   -- how far it is fast; NULL when it does not say which moment it is
    drift_ppm INTEGER,               -- seconds per million that it gained between the last two looks
    detail TEXT NOT NULL             -- why it cannot be believed or was not set; empty when all is well
) STRICT;

CREATE TABLE clock_step (            -- intent before, result after; a day's allowance is counted from here
    id TEXT PRIMARY KEY,
    meter TEXT NOT NULL,
    shift_s INTEGER NOT NULL,
    off_s INTEGER NOT NULL,          -- how far it was fast before
    intent_at INTEGER NOT NULL,
    result_at INTEGER,
    outcome TEXT,                    -- done, refused, unknown
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX clock_step_meter ON clock_step (meter, intent_at);
CREATE INDEX clock_step_age ON clock_step (intent_at);
