"""Files from billing and the registry office: read strictly, applied whole, fanned out to the nodes they concern."""
