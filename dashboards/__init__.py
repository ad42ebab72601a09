"""EdgeManager: the web interface, a client of the HTTP contract."""
