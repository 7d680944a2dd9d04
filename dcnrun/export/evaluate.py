"""`dcnrun evaluate --model FILE`: the scores of an exported file, computed by its own runtime."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dcnrun.config.compose import compose, load_text
from dcnrun.config.inactive import settings_of
from dcnrun.config.overrides import parse
from dcnrun.config.schema import Accelerator, Config, DetectionModelConfig, MaskModelConfig, Precision
from dcnrun.console import printable
from dcnrun.errors import ConfigError, DataError, UsageError
from dcnrun.export.description import Description
from dcnrun.export.detections import ExportedDetector
from dcnrun.export.formats import ExportedModule, open_exported
from dcnrun.runs import CheckpointChoice
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.validate import check
from dcnrun.training.evaluate import report, require_places
from dcnrun.training.launch import launch
from dcnrun.training.trained_run import matched_by_name
from dcnrun.training.validation import Inference

_NEEDED = ("data", "data.mean", "data.std")
"""What must be said of a file that does not say what it is."""


def evaluate_file(
    file: Path,
    overrides: Sequence[str] = (),
    predictions: Path | None = None,
    errors: Path | None = None,
    trusted: bool = False,
) -> dict[str, Any]:
    """Score a file on validation images, by the evaluation of runs; print a table, return the numbers.

    Args:
        file: one that `dcnrun export` has written, or another of the same kind, of which overrides say how images are prepared.
        overrides: changes of the settings that the file holds, for other data.
        predictions: as for a run, of detectors.
        errors: the folder that what the network gets wrong is written into.
        trusted: whether code in the file may run.

    Raises:
        UsageError, ConfigError: the file is none, is code and not trusted, or does not fit the data; or settings are wrong.
        DataError: its scores are not such of a network for segmentation.
        DcnrunError: its runtime is not installed, or fails.
    """
    exported = open_exported(file, trusted)
    description = Description.of(exported.metadata) if "dcnrun" in exported.metadata else None
    config = _own_config(file, description, overrides) if description else _given_config(file, overrides)
    check(config)
    require_places(config, predictions, errors)
    task = task_of(config.model)
    dataset = task.dataset(config.data, "val")
    if description is not None:
        dataset = matched_by_name(dataset, description.classes, str(file))
    if isinstance(config.model, DetectionModelConfig) != (description is not None and description.finds_objects):
        raise UsageError(f"model={config.model.head} does not fit {file}, whose outputs are of another task.")
    network: nn.Module
    if description is not None and description.finds_objects:
        network = ExportedDetector(exported, description)
    else:
        network = ScoredFile(file, ExportedModule(exported, description), dataset.classes)
    note = _note(file, description) if description else ""
    scores = report(Inference(config, task, launch(config), network, dataset), file, note, predictions, errors)
    return {"model": str(file), **scores}


class ScoredFile(nn.Module):
    """An exported network as evaluation calls it; DataError, with the file's name, where its outputs are no scores."""

    def __init__(self, file: Path, network: nn.Module, classes: Sequence[str]) -> None:
        super().__init__()
        self.file, self.network, self.classes = file, network, tuple(classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (N, classes, H, W) of images (N, C, H, W)."""
        scores: Tensor = self.network(images)
        wanted = (len(images), len(self.classes), *images.shape[2:])
        if tuple(scores.shape) != wanted or not scores.is_floating_point():
            raise DataError(
                f"{self.file}: the output for images of shape {tuple(images.shape)} is {scores.dtype} of shape "
                f"{tuple(scores.shape)}; expected are scores of shape {wanted}, one for each of the classes "
                f"{printable(', '.join(self.classes))} at every pixel."
            )
        return scores.float()


def _own_config(file: Path, description: Description, overrides: Sequence[str]) -> Config:
    """Return the settings that a file holds, with overrides: other data are prepared as the network has learnt it.

    UsageError for what would change a network that is written already.
    """
    inside = Path(f"{file}[config]")
    # What a file says fetches nothing: only who evaluates it may ask for that.
    kept = ["data.download=false"]
    if description.size is not None:  # which images are brought to from their own size
        kept += ["data.eval_short_side=0", "data.long_side_max=0"]
    own = settings_of(load_text(description.config, inside, kept))
    config = load_text(description.config, inside, [*kept, *overrides])
    changed = [key for key, value in settings_of(config).items() if value != own.get(key)]
    if written := [key for key in changed if key.partition(".")[0] in ("model", "conv")]:
        raise UsageError(
            f"The network in {file} is as it was exported: leave out {written[0]}, or give it to `dcnrun export`."
        )
    normalisation = [key for key in changed if key in ("data.mean", "data.std")]
    if description.normalises and normalisation:
        raise UsageError(f"The network in {file} normalises its input itself: leave out {normalisation[0]}.")
    return _on_the_cpu(config)


def _given_config(file: Path, overrides: Sequence[str]) -> Config:
    """Return the settings for a file that has none; UsageError where what it needs is not among the overrides."""
    given = set()
    for override in overrides:
        try:
            given.add(parse(override).key)
        except ConfigError:  # which composing explains
            continue
    if missing := [key for key in _NEEDED if key not in given]:
        raise UsageError(
            f"{file} does not say how it was trained, as files of `dcnrun export` do: {', '.join(missing)} must be given. data= is "
            "the source of images, whose classes are those of the output, in their order; data.mean=[...] and data.std=[...] are "
            "what its input is normalised by, for pixels from 0 to 1 (all 0 and all 1 where it takes these as they are)."
        )
    config = compose(overrides)
    if not isinstance(config.model, MaskModelConfig):
        raise UsageError(f"model={config.model.head}: files of networks for segmentation can be evaluated, no others.")
    return _on_the_cpu(config)


def _on_the_cpu(config: Config) -> Config:
    """Return settings under which images are prepared on the CPU, by one process, and stay in fp32."""
    trainer = replace(config.trainer, accelerator=Accelerator.cpu, devices=1, nodes=1)
    return replace(config, trainer=replace(trainer, precision=Precision.fp32, channels_last=False))


def _note(file: Path, description: Description) -> str:
    if description.checkpoint != CheckpointChoice.best:
        return ""
    return (
        f"{file} holds the best checkpoint of its run, chosen on the run's own validation images: on those, its scores are "
        "optimistic; with --checkpoint last of `dcnrun export` they are not."
    )
