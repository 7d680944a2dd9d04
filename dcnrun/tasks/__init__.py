"""What networks are for: one folder a task, with its networks, losses and scores. `task.py` says what a task is."""
