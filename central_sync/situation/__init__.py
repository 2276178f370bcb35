"""How the nodes stand: live, stale, offline, never seen; what they still owe, what they noticed."""
