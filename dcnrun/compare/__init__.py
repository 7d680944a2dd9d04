"""Variants of convolution side by side: the grid of runs, their statistics, tables and figure."""

PICTURES = 6
"""Images on which the variants differ most that are drawn, unless another number is asked for."""
