-- What meters are watched for beside their registers: clocks, event logs, and the supply that many of them lost at once.

-- Clocks ----------------------------------------------------------------------------------------------------------

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

-- Event logs ------------------------------------------------------------------------------------------------------
CREATE TABLE meter_log_read (        -- when the logs of a meter were last read whole
    meter TEXT PRIMARY KEY,
    read_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meter_log_mark (        -- the latest line of each log, by the meter's clock
    meter TEXT NOT NULL,
    log TEXT NOT NULL,
    newest_at INTEGER NOT NULL,
    PRIMARY KEY (meter, log)
) STRICT, WITHOUT ROWID;

CREATE TABLE meter_event (           -- each line once
    meter TEXT NOT NULL,
    at INTEGER NOT NULL,             -- by the meter's clock
    log TEXT NOT NULL,
    code INTEGER NOT NULL,           -- as the meter numbers it
    kind TEXT NOT NULL,              -- as its profile file says what that means
    seen_at INTEGER NOT NULL,        -- when it was read
    PRIMARY KEY (meter, at, log, code)
) STRICT, WITHOUT ROWID;
CREATE INDEX meter_event_age ON meter_event (seen_at);

-- Outages of supply -----------------------------------------------------------------------------------------------
CREATE TABLE supply_outage (         -- a transformer's consumers without supply, inferred from their meters' silence
    id TEXT PRIMARY KEY,
    transformer TEXT NOT NULL,
    district TEXT NOT NULL,
    began_at INTEGER NOT NULL,       -- when its meters were heard last, then what their power events say
    ended_at INTEGER,                -- when they were heard again; NULL while it lasts
    customers INTEGER NOT NULL,
    evidence TEXT NOT NULL,          -- gateway_silent (suspected only), meters_silent, power_events
    noticed_at INTEGER NOT NULL,
    judged_at INTEGER                -- when the power events were looked through for the last time; NULL: not yet
) STRICT;
CREATE UNIQUE INDEX supply_outage_running ON supply_outage (transformer) WHERE ended_at IS NULL;
CREATE INDEX supply_outage_began ON supply_outage (began_at);
CREATE INDEX supply_outage_unjudged ON supply_outage (ended_at) WHERE judged_at IS NULL AND ended_at IS NOT NULL;
