"""`dcnrun evaluate`: the scores of a trained run, the same as its validation gave."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from dcnrun.config.schema import Config
from dcnrun.console import console, printable
from dcnrun.data import LabelledDataset
from dcnrun.data.contents import changed_contents, split_contents
from dcnrun.errors import UsageError
from dcnrun.runs import CheckpointChoice
from dcnrun.scores import as_percent
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.task import Evaluation
from dcnrun.training.errors import ERRORS, write_errors
from dcnrun.training.launch import launch
from dcnrun.training.monitor import first_layer_not_finite
from dcnrun.training.trained_run import TrainedRun, load_trained_run
from dcnrun.training.validation import Inference, first_batch, in_memory_format, on_device, validate

_MOST_PRINTED = 10  # of the worst images


def evaluate(
    run: Path,
    which: CheckpointChoice = CheckpointChoice.best,
    overrides: Sequence[str] = (),
    predictions: Path | None = None,
    errors: Path | None = None,
) -> dict[str, Any]:
    """Score a run's `best` or `last` checkpoint on its validation images, print a table, return the numbers.

    Overrides change the run's config first: other data, another batch size. What the network says is written to
    `predictions`, and what it gets wrong into the folder `errors`, where they are given.
    """
    trained = load_trained_run(run, which, overrides)
    task = task_of(trained.config.model)
    note = ""
    if which is CheckpointChoice.best:
        note = (
            f"{trained.path.name} was chosen by {task.traits.metric(trained.config)} on the run's own validation images: on those, its "
            "scores are optimistic; with --checkpoint last they are not."
        )
    require_places(trained.config, predictions, errors)
    inference = inference_of(trained)
    if line := _changed_labels(trained, inference.val_set):
        console.print(f"Warning: {line}", markup=False, soft_wrap=True)
    scores = report(inference, trained.path, note, predictions, errors)
    return {"run": str(run), "checkpoint": which, "step": trained.step, **scores}


def require_places(config: Config, predictions: Path | None, errors: Path | None) -> None:
    """Raise UsageError where what `report` is to write can't be had, or not there."""
    if errors is not None and errors.exists() and not errors.is_dir():
        raise UsageError(f"--errors {errors}: it is a file; give a folder, which need not exist.")
    if predictions is not None and not task_of(config.model).traits.saves_predictions:
        raise UsageError(
            f"--save-predictions {predictions}: predictions are written of networks for boxes or masks of objects only."
        )


def report(
    inference: Inference[Any, Any, Any], path: Path, note: str, predictions: Path | None, errors: Path | None
) -> dict[str, Any]:
    """Score a network on its validation images, print a table and a note, write what is asked for, return the numbers.

    Args:
        inference: the network, its images and settings.
        path: the file that the network is from.
        note: what is said of it beside its scores; may be empty.
        predictions: the file that what the network says is written to.
        errors: the folder that what it gets wrong is written into.
    """
    result = validate(inference)
    _print(result, path)
    not_finite = _first_not_finite(inference)
    if not_finite is not None:
        where = f", first in layer {not_finite}" if not_finite else ""
        console.print(
            f"Warning: the outputs of the network in {path} are not finite numbers (NaN or infinity){where}: its scores mean "
            "nothing. Train it again with a lower learning rate.",
            markup=False,
            soft_wrap=True,
        )
    if note:
        console.print(note, markup=False)
    if predictions is not None:
        result.write_predictions(predictions)
        console.print(f"Written: {predictions}", markup=False, soft_wrap=True)
    if errors is not None:
        metric = inference.task.traits.metric(inference.config)
        found = write_errors(result, metric, errors)
        _print_worst(found["worst_images"][:_MOST_PRINTED], metric)
        console.print(f"Written: {errors}/{ERRORS} and pictures", markup=False, soft_wrap=True)
    return {
        "images": len(result.images.names),
        "metrics": result.metrics,
        "per_class": result.per_class,
        "not_finite": not_finite,
    }


def _print_worst(images: Sequence[Mapping[str, Any]], metric: str) -> None:
    table = Table("image", metric, title="The worst images")
    for image in images:
        table.add_row(escape(printable(image["name"])), as_percent(image[metric]))
    console.print(table)


def inference_of(trained: TrainedRun) -> Inference[Any, Any, Any]:
    """Return the network of a run on its device, with its validation images."""
    config = trained.config
    fabric, task = launch(config), task_of(config.model)
    val_set = trained.val_set()
    network = in_memory_format(trained.model(len(val_set.classes)).network, config).to(fabric.device)
    return Inference(config, task, fabric, network, val_set)


def _changed_labels(trained: TrainedRun, val_set: LabelledDataset[Any, Any]) -> str:
    """Return a line where the same images have other labels than the run was validated with; nothing of other images, which are asked for."""
    before = trained.folder.read_environment()
    if "val_labels" not in before:
        return ""
    now = split_contents("val", val_set)
    if before.get("val_images") != now["val_images"] or not changed_contents(before, now):
        return ""
    return (
        f"the labels of the validation images have changed since {trained.folder.path} began: these scores are of the labels that are there "
        "now, those in its folder of the old ones."
    )


def _first_not_finite(inference: Inference[Any, Any, Any]) -> str | None:
    """Return the first layer whose outputs for the first validation image are not finite, if any."""
    batch, network = on_device(first_batch(inference, 1), inference.fabric, inference.config), inference.raw_model
    network.eval()
    return first_layer_not_finite(network, lambda: inference.task.predict(network, batch))


def _print(result: Evaluation, path: Path) -> None:
    table = Table(title=escape(str(path)))
    table.add_column("class")
    for metric in result.per_class:
        table.add_column(metric, justify="right")
    for name in result.images.classes:
        values = (scores[name] for scores in result.per_class.values())
        table.add_row(escape(printable(name)), *map(as_percent, values))
    console.print(table)
    for name, value in result.metrics.items():
        console.print(f"{name} {as_percent(value)}")
