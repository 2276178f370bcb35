"""The hub's store: a port and its engines. The only place with SQL; below all rooms of the hub."""
