-- Intervals that were estimated because registers are missing in between, and why they still are. A gap is noted in the
-- transaction that books its estimate, and goes once its meter's own memory has told what each interval was. Without a
-- row hash: what is filled is checked against the meter, and a wrong row here agrees with none.

CREATE TABLE gap (
    point INTEGER NOT NULL,          -- number in `point`
    end INTEGER NOT NULL,            -- of its last interval; the register that closed it stands there
    start INTEGER NOT NULL,          -- of the register before it; its first interval begins here
    interval_s INTEGER NOT NULL,
    meter TEXT NOT NULL,
    start_register_wh INTEGER NOT NULL,
    end_register_wh INTEGER NOT NULL,
    energy_wh INTEGER NOT NULL,      -- between the two registers
    reason TEXT NOT NULL,            -- why it is still there: waiting, meter_silent, no_memory, …
    detail TEXT NOT NULL,            -- the same in a sentence, for a person; empty while nobody asked
    tries INTEGER NOT NULL,          -- how often its meter was asked
    due_at INTEGER,                  -- when it is asked next; NULL: nobody asks again
    PRIMARY KEY (point, end)
) STRICT, WITHOUT ROWID;
CREATE INDEX gap_due ON gap (due_at, end, point) WHERE due_at IS NOT NULL;
CREATE INDEX gap_reason ON gap (reason, start, end, interval_s);  -- counted for each status: nothing else is read
