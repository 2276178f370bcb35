"""The hub's pages: the republic at one look, and every figure down to a transformer."""
