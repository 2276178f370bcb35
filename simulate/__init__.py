"""The rehearsal: a small country with meters, weather, people and faults, run against the product's own code."""
