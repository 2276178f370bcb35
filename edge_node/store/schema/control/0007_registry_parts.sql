-- A registry too large for one document comes in parts; registry.document then is the manifest that names them. A part
-- is kept under the digest of its bytes, once for all versions that have it.

CREATE TABLE registry_part (
    digest BLOB PRIMARY KEY,         -- SHA-256 of the document
    document BLOB NOT NULL,          -- packed (protocols/sync/chunk/registries.py)
    received_at INTEGER NOT NULL
) STRICT;

CREATE TABLE registry_part_use (     -- which version has which parts; one that nobody has yet waits for its manifest
    version INTEGER NOT NULL,
    number INTEGER NOT NULL,         -- from 0, in the order of the manifest
    digest BLOB NOT NULL,
    PRIMARY KEY (version, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_part_use_digest ON registry_part_use (digest);
