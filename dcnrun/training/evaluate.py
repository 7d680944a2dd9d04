"""`dcnrun evaluate`: the scores of a trained run, the same as its validation gave."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from dcnrun.console import console
from dcnrun.tasks.task import Evaluation
from dcnrun.training.loop import validate
from dcnrun.training.run import prepare
from dcnrun.training.trained import read_trained


def evaluate(
    run: Path, which: str = "best", overrides: Sequence[str] = (), predictions: Path | None = None
) -> dict[str, Any]:
    """Score a run's `best` or `last` checkpoint on its validation images, print a table, return the numbers.

    Overrides change the run's config first: other data, another batch size. What the network says is written to
    `predictions`, where one is given.
    """
    trained = read_trained(run, which, overrides)
    training, _ = prepare(trained.config)
    trained.load_into(training.bare)
    result = validate(training)
    _print(result, trained.path)
    if predictions is not None:
        result.write_predictions(predictions)
        console.print(f"Written: {predictions}", markup=False, soft_wrap=True)
    return {
        "run": str(run),
        "checkpoint": which,
        "step": trained.step,
        "images": len(result.images.names),
        "metrics": result.metrics,
        "per_class": result.per_class,
    }


def _print(result: Evaluation, path: Path) -> None:
    table = Table(title=str(path))
    table.add_column("class")
    for metric in result.per_class:
        table.add_column(metric, justify="right")
    for name in result.images.classes:
        values = (scores[name] for scores in result.per_class.values())
        table.add_row(escape(name), *("-" if isnan(value) else f"{value:.4f}" for value in values))
    console.print(table)
    for name, value in result.metrics.items():
        console.print(f"{name} {value:.4f}")
