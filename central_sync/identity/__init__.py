"""Who may speak as which node: enrolment, certificates, the gate of the nodes' interface. Floor: central_sync."""
