"""What runs a sweep: each engine is a file here."""
