"""How a node becomes known to a hub: token, request, answer. Floor: protocols."""
