"""Sweeps on Weights & Biases: its server chooses the settings and stops runs, its agents run them here."""

from dcnrun.sweep.wandb_engine.engine import run_wandb_sweep

__all__ = ["run_wandb_sweep"]
