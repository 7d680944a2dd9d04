"""`dcnrun evaluate`: the scores of a trained run, the same as its validation gave."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from dcnrun.console import console
from dcnrun.training.loop import validate
from dcnrun.training.metrics import Evaluation
from dcnrun.training.run import prepare
from dcnrun.training.trained import read_trained


def evaluate(run: Path, which: str = "best", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Score a run's `best` or `last` checkpoint on its validation images, print a table, return the numbers.

    Overrides change the run's config first: other data, another batch size.
    """
    trained = read_trained(run, which, overrides)
    training, _ = prepare(trained.config)
    trained.load_into(training.bare)
    result = validate(training)
    _print(result, trained.path)
    return {
        "run": str(run),
        "checkpoint": which,
        "step": trained.step,
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
