"""How a node and the hub agree on facts: lanes of signed batches up, lanes of items down, over any `Link`."""
