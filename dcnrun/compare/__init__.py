"""Variants of convolution side by side: the grid of runs, their statistics, tables and figure."""

from dcnrun.compare.finished import compare_runs
from dcnrun.compare.runner import run_grid

__all__ = ["compare_runs", "run_grid"]
