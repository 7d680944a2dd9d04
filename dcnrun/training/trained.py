"""What a run has learnt: its config and the weights of a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dcnrun.config.compose import load
from dcnrun.config.schema import Config
from dcnrun.errors import UsageError
from dcnrun.rules import check
from dcnrun.runs import RunFolder
from dcnrun.training import checkpoint


@dataclass(frozen=True)
class Trained:
    """A run's config, with overrides, and its checkpoint, not yet in a network."""

    config: Config
    path: Path
    state: checkpoint.State

    @property
    def step(self) -> int:
        """The training steps behind the weights."""
        return int(self.state["step"])

    def load_into(self, network: nn.Module) -> None:
        """Give a network of the config the weights; UsageError if overrides made it another one."""
        try:
            network.load_state_dict(self.state["network"])
        except RuntimeError as error:
            raise UsageError(
                f"{self.path} does not fit the config with these overrides: {str(error).splitlines()[-1].strip()}"
            ) from error


def read_trained(run: Path, which: str, overrides: Sequence[str] = ()) -> Trained:
    """Read a run's `best` or `last` checkpoint and its config, for use in one process."""
    folder = RunFolder(run)
    folder.require()
    config = load(folder.config_file, overrides)
    config.trainer.devices = config.trainer.nodes = 1  # also for runs of many processes
    check(config)
    path = folder.best_checkpoint if which == "best" else folder.last_checkpoint
    return Trained(config, path, checkpoint.load(path))
