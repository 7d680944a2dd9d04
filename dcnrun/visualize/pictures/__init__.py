"""Figures of where a network looks: a `plot_...` function for each."""
