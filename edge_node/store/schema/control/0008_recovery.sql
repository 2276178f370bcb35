-- What was taken last from each lane down: a hub that went back and grew on has another item under its number.

ALTER TABLE downlink ADD COLUMN digest BLOB;   -- SHA-256 of the last item (protocols/sync/attest.py); NULL: not known
