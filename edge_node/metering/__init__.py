"""Metering: when to poll, what came, what an hour was. A room of the node; it meets the others in the store only."""
