"""`dcnrun evaluate`: the scores of a trained run, the same as its validation gave."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from dcnrun.config.compose import load
from dcnrun.console import console
from dcnrun.errors import UsageError
from dcnrun.rules import check
from dcnrun.runs import RunFolder
from dcnrun.training import checkpoint
from dcnrun.training.loop import validate
from dcnrun.training.metrics import Evaluation
from dcnrun.training.run import prepare


def evaluate(run: Path, which: str = "best", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Score a run's `best` or `last` checkpoint on its validation images, print a table, return the numbers.

    Overrides change the run's config first: other data, another batch size.
    """
    folder = RunFolder(run)
    folder.require()
    config = load(folder.config_file, overrides)
    config.trainer.devices = config.trainer.nodes = 1  # also for runs of many processes
    check(config)
    path = folder.best_checkpoint if which == "best" else folder.last_checkpoint
    state = checkpoint.load(path)
    training, _ = prepare(config)
    try:
        training.bare.load_state_dict(state["network"])
    except RuntimeError as error:
        raise UsageError(
            f"{path} does not fit the config with these overrides: {str(error).splitlines()[-1].strip()}"
        ) from error
    result = validate(training)
    _print(result, path)
    return {
        "run": str(run),
        "checkpoint": which,
        "step": state["step"],
        "images": len(result.names),
        "metrics": result.metrics,
        "class_iou": result.class_iou,
    }


def _print(result: Evaluation, path: Path) -> None:
    table = Table(title=str(path))
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, iou in result.class_iou.items():
        table.add_row(name.replace("[", r"\["), "-" if iou != iou else f"{iou:.4f}")
    console.print(table)
    for name, value in result.metrics.items():
        console.print(f"{name} {value:.4f}")
