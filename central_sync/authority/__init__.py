"""Mandates: carried to the nodes, never made here; persons sign on their own machines."""
