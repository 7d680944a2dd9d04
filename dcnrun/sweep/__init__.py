"""Sweeps: which settings are best, found by trials from a W&B sweep file."""
