"""`dcnrun sweep FILE --engine wandb`: the same file on Weights & Biases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcnrun.sweep.agent import gpu_groups_for
from dcnrun.sweep.prepare import Options, cap_of, folder_of, read_and_tell
from dcnrun.sweep.spec.checks import check_against_settings
from dcnrun.sweep.wandb_engine.engine import run_wandb_sweep


def run_online(path: Path, overrides: Sequence[str], options: Options) -> dict[str, Any]:
    """Check a sweep file as the local engine does, create the sweep on Weights & Biases, and run its agents here."""
    sweep = read_and_tell(path)
    check_against_settings(sweep, overrides)
    return run_wandb_sweep(
        sweep,
        overrides,
        count=cap_of(sweep, options),
        agents=options.agents,
        gpus=gpu_groups_for([*sweep.fixed, *overrides], options.gpus),
        folder=folder_of(sweep, options),
    )
