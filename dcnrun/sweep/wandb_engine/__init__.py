"""Sweeps on Weights & Biases: its server chooses the settings and stops runs, its agents run them here."""
