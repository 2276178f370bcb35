"""Energy balances moved by delta: a pure core, the booking inside ingest's transaction, the reads, the audit."""
