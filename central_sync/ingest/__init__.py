"""Taking in batches: judged, stored and acknowledged, as applied or as quarantined with a reason."""
