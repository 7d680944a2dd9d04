"""What a run has learnt: its config and the weights of a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dcnrun.config.compose import load
from dcnrun.config.schema import Config
from dcnrun.errors import UsageError
from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.tasks.build import BuiltModel, build_model
from dcnrun.tasks.validate import check
from dcnrun.training import checkpoint


@dataclass(frozen=True)
class TrainedRun:
    """A run's config, with overrides, and its checkpoint, not yet in a network."""

    config: Config
    path: Path
    state: checkpoint.State

    @property
    def step(self) -> int:
        """The training steps behind the weights."""
        return int(self.state["step"])

    def model(self, num_classes: int) -> BuiltModel:
        """Build the network of the config with the weights; UsageError if overrides made it another one."""
        model = build_model(without_weights(self.config), num_classes)
        try:
            model.network.load_state_dict(self.state["network"])
        except RuntimeError as error:
            raise UsageError(
                f"{self.path} does not fit the config with these overrides: {str(error).splitlines()[-1].strip()}"
            ) from error
        return model


def load_trained_run(run: Path, which: CheckpointChoice, overrides: Sequence[str] = ()) -> TrainedRun:
    """Read a run's `best` or `last` checkpoint and its config, for use in one process."""
    folder = RunFolder(run)
    folder.require()
    config = load(folder.config_file, overrides)
    config.trainer.devices = config.trainer.nodes = 1  # also for runs of many processes
    check(config)
    path = folder.checkpoint(which)
    return TrainedRun(config, path, checkpoint.load(path))


def without_weights(config: Config) -> Config:
    """Return the config with random weights: where a checkpoint has them all, published ones need not be at hand."""
    return replace(config, model=replace(config.model, weights=None))
