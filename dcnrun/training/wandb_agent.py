"""A run that an agent of Weights & Biases starts: its arguments, its folder, and how it ends."""

import ast
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dcnrun.config.compose import compose
from dcnrun.config.overrides import as_override, parse
from dcnrun.errors import ConfigError
from dcnrun.runs import RunFolder, RunStatus
from dcnrun.training import run

# What the client itself keeps in a run's config; a resumed run is given it back as an argument.
_INTERNAL = "_wandb"


def train(arguments: Sequence[str], config_dir: Path | None, run_dir: Path | None) -> dict[str, Any]:
    """Train with the agent's settings, or resume a stopped run of the same id, and return the run's summary.

    The folder is `run_dir`, else `<runs_dir>/wandb-<sweep>/<run id>`, so that a run that W&B resumes finds it again.
    A run that the agent stops ends without an error, since agents count each error as a failure and give up after a few.
    """
    overrides = as_overrides(arguments)
    config = compose(overrides, config_dir)
    if run_dir is None:
        run_dir = Path(config.runs_dir, f"wandb-{os.environ['WANDB_SWEEP_ID']}", os.environ["WANDB_RUN_ID"])
    folder = RunFolder(run_dir)
    try:
        if folder.config_file.exists():
            return run.resume(folder.path)
        return run.train(config, overrides, folder.path)
    except KeyboardInterrupt:
        return {"status": RunStatus.stopped, "run": str(folder.path)}


def as_overrides(arguments: Sequence[str]) -> list[str]:
    """Return as overrides what an agent puts for ${args_no_hyphens}, values as Python prints them.

    `optim={'lr': 0.1}`, a nested parameter, becomes `optim.lr=0.1`; `None` becomes `null`; a text that can't be read as one
    value is quoted; `_wandb=...` is left out.
    """
    return [override for argument in arguments for override in _as_overrides(argument)]


def _as_overrides(argument: str) -> Iterator[str]:
    key, equals, text = argument.partition("=")
    if key == _INTERNAL:
        return
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):  # a plain word
        yield argument if _is_one_value(argument) or not equals else as_override(key, text)
        return
    if value is None or isinstance(value, dict):
        yield from _flat(key, value)
    else:
        yield argument


def _flat(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}", inner)
    else:
        yield as_override(key, value)


def _is_one_value(argument: str) -> bool:
    try:
        return len(parse(argument).values) == 1
    except ConfigError:
        return False
