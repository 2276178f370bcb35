"""What a node knows durably: one control database and monthly segments of readings; the rooms meet here alone."""
