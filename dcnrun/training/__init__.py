"""Training: the loop, optimizer, metrics, checkpoints, loggers, and runs from start to end."""
