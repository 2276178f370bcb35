-- Invocation counters of keyed meters (DLMS): below each mark every number was set aside before it could be used.

CREATE TABLE meter_counter (
    key TEXT PRIMARY KEY,            -- a fingerprint of the meter's key and our title, never the key
    mark INTEGER NOT NULL            -- the first number that was never set aside; it only rises
) STRICT;
