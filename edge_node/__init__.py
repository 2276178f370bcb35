"""An edge node: polls its meters, keeps everything, rates, cuts and restores by itself, and tells the hub."""
