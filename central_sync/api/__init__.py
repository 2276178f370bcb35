"""The hub's HTTP face: the sync exchanges and the JSON behind every page."""
