"""The office's own face: pages and API that work with the link lost."""
