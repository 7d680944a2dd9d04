"""What a run has learnt: its config, the weights of a checkpoint, and the classes that their outputs stand for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dcnrun.config.compose import load
from dcnrun.config.paths import find_paths
from dcnrun.config.schema import Config, FilesConfig
from dcnrun.console import console, printable
from dcnrun.data import LabelledDataset
from dcnrun.data.class_order import in_order_of
from dcnrun.errors import ConfigError, RunError, UsageError
from dcnrun.models.weights import misfit
from dcnrun.runs import CheckpointChoice, RunFolder, RunStatus, per_class_of
from dcnrun.tasks.build import BuiltModel, build_model
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.task import BatchT, SampleT
from dcnrun.tasks.validate import check
from dcnrun.training import checkpoint


@dataclass(frozen=True)
class TrainedRun:
    """A run's config, with overrides, and its checkpoint, not yet in a network."""

    config: Config
    path: Path
    state: checkpoint.State
    classes: tuple[str, ...] | None
    """What the network's outputs stand for, in their order; None where an older run doesn't say."""
    folder: RunFolder

    @property
    def step(self) -> int:
        """The training steps behind the weights."""
        return int(self.state["step"])

    def val_set(self) -> LabelledDataset[Any, Any]:
        """Open the validation images of the config, their classes numbered as in the run; UsageError if they are others."""
        dataset = task_of(self.config.model).dataset(self.config.data, "val")
        self._warn_of_training_images(dataset)
        if self.classes is None:
            return dataset
        return matched_by_name(dataset, self.classes, str(self.path))

    def _warn_of_training_images(self, dataset: LabelledDataset[Any, Any]) -> None:
        """Say where a share of the images is another than the run's own, as with images that were added since."""
        data = self.config.data
        if not (isinstance(data, FilesConfig) and data.val_share):
            return
        images = task_of(self.config.model).traits.per_image.load(self.folder.per_image_file)
        own = set(images.names if images else ())
        names = [dataset.name(index) for index in range(len(dataset))]
        others = [name for name in names if name not in own]
        if 0 < len(others) < len(names):
            console.print(
                f"Warning: {len(others)} of the {len(names)} validation images, such as {others[0]!a}, are not among the {len(own)} that the run was"
                f" validated on: with other images in data.root, data.val_share={data.val_share:g} draws others, and the run may have been trained on some of"
                " these. Give the images that it had, or others by data.val=... or data.root=...",
                markup=False,
                soft_wrap=True,
            )

    def model(self, num_classes: int) -> BuiltModel:
        """Build the network of the config with the weights; UsageError if overrides made it another one."""
        model = build_model(without_weights(self.config), num_classes)
        if wrong := misfit(model.network, self.state["network"]):
            raise UsageError(f"{self.path} does not fit the config with these overrides: {wrong}.")
        model.network.load_state_dict(self.state["network"])
        return model


def load_trained_run(run: Path, which: CheckpointChoice, overrides: Sequence[str] = ()) -> TrainedRun:
    """Read a run's `best` or `last` checkpoint and its config, for use in one process."""
    folder = RunFolder(run)
    folder.require()
    for line in folder.changed_files():
        console.print(f"Warning: {line}", markup=False, soft_wrap=True)
    config, moved = find_paths(load(folder.config_file, overrides), folder.read_paths(), folder.path)
    for line in moved:
        console.print(line, markup=False, soft_wrap=True)
    config.trainer.devices = config.trainer.nodes = 1  # also for runs of many processes
    check_saved(config, folder)
    path = folder.checkpoint(which)
    state = checkpoint.load(path)
    trained = TrainedRun(config, path, state, learnt_classes(state, folder), folder)
    if (expected := _step_of(folder, which)) not in (None, trained.step):
        why = f"holds the weights of step {trained.step}, but the {which} are those of step {expected}"
        console.print(f"Warning: {path} {why}, by {folder.summary_file}.", markup=False, soft_wrap=True)
    return trained


def _step_of(folder: RunFolder, which: CheckpointChoice) -> int | None:
    """Return the step that a run ended with, or had its best metric at; None if its summary doesn't say or is older than that."""
    try:
        summary = folder.read_summary()
    except RunError:
        return None
    if which is CheckpointChoice.best:
        step = None if summary.get("status") == RunStatus.running else (summary.get("best") or {}).get("step")
    else:
        step = summary.get("step") if summary.get("status") in (RunStatus.completed, RunStatus.stopped) else None
    return None if step is None else int(step)


def check_saved(config: Config, folder: RunFolder) -> None:
    """Raise ConfigError with the problems of a config that was read from a run's folder, and the file's name."""
    try:
        check(config)
    except ConfigError as error:
        raise ConfigError(
            [*error.problems, f"The settings come from {folder.config_file} and the overrides."]
        ) from error


def learnt_classes(state: checkpoint.State, folder: RunFolder) -> tuple[str, ...] | None:
    """Return the classes that a checkpoint's outputs stand for; None if neither it nor, for older runs, the summary says."""
    held = state.get("classes")
    if held is None:
        try:
            held = list(next(iter(per_class_of(folder.read_summary()).values()), ()))
        except RunError:
            return None
    return tuple(map(str, held)) or None


def matched_by_name(
    dataset: LabelledDataset[SampleT, BatchT], classes: Sequence[str], of: str, say: bool = True
) -> LabelledDataset[SampleT, BatchT]:
    """Return the data set with its classes numbered as `classes`, those `of` something, and say so where they were not.

    UsageError where the data set has other names.
    """
    matched = in_order_of(dataset, classes)
    theirs, ours = (printable(", ".join(names)) for names in (classes, dataset.classes))
    if matched is None:
        raise UsageError(
            f"The data does not fit {of}: the classes there are {theirs}, but these images have {ours}. "
            "Give data with the same classes."
        )
    if say and matched is not dataset:
        console.print(
            f"The classes are {theirs} in {of}, but {ours} in this data: matched by name.", markup=False, soft_wrap=True
        )
    return matched


def without_weights(config: Config) -> Config:
    """Return the config with random weights: where a checkpoint has them all, published ones need not be at hand."""
    return replace(config, model=replace(config.model, weights=None))
