"""Who may say what: canonical bytes, signatures by named keys with roles, mandates of two persons."""
