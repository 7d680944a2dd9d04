"""The settings of a run: their schema, how they are composed, and what is said when they are wrong."""
