"""Load a trained run to look into its network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from dcnrun.config.schema import Config
from dcnrun.offsets.capture import capture
from dcnrun.offsets.layers import Capture
from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.task import AnyTask
from dcnrun.training.launch import launch
from dcnrun.training.trained_run import load_trained_run
from dcnrun.visualize.dataset import ExampleDataset


@dataclass(frozen=True)
class LoadedRun:
    """A network with the weights of a checkpoint, in evaluation mode and fp32, and the images it is validated on."""

    folder: RunFolder
    checkpoint: CheckpointChoice
    step: int
    config: Config
    task: AnyTask
    network: nn.Module
    layers: tuple[str, ...]
    """Names of the layers under comparison, deformable or not, in the network's `named_modules`; none with conv.layers=0."""
    dataset: ExampleDataset

    def capture(self, image: Tensor) -> Capture:
        """Record where the network samples for an image (3, H, W) as it takes it: normalised."""
        return capture(self.network, image, self.layers)


def load_run(run: Path, which: CheckpointChoice = CheckpointChoice.best, overrides: Sequence[str] = ()) -> LoadedRun:
    """Load a run's `best` or `last` checkpoint; overrides change its config first, for other data.

    UsageError if it is no run, or the weights don't fit the config; RunError if there is no checkpoint.
    """
    trained = load_trained_run(run, which, overrides)
    config = trained.config
    task, device = task_of(config.model), launch(config).device
    dataset = trained.val_set()
    model = trained.model(len(dataset.classes))
    return LoadedRun(
        folder=RunFolder(run),
        checkpoint=which,
        step=trained.step,
        config=config,
        task=task,
        network=model.network.to(device).eval(),
        layers=tuple(f"backbone.{layer.name}" for layer in model.replaced),
        dataset=ExampleDataset(dataset, config.data, "val"),
    )
