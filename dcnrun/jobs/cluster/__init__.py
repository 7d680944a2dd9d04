"""Jobs on a Ray cluster: the ledger behind an actor on the head node, agents as tasks wherever there is room."""
