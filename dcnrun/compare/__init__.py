"""Variants of convolution side by side: the grid of runs, their statistics, tables and figure."""
