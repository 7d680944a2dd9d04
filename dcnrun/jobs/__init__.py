"""Training runs as processes: the ledger that agents share, and the processes themselves."""
