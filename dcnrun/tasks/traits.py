"""What is known of a task without its networks: enough to read and compare finished runs, which imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcnrun.config.groups import Labels
from dcnrun.config.schema import Config
from dcnrun.scores import PerImage
from dcnrun.tasks.found import PredictionFormat

if TYPE_CHECKING:
    from dcnrun.tasks.task import AnyTask


@dataclass(frozen=True)
class Metric:
    """A score that an evaluation gives, from 0 to 1; people read it in percent."""

    name: str
    """As it is logged, such as `val/miou`."""
    title: str
    """As people call it, such as `mIoU`."""


@dataclass(frozen=True)
class TaskTraits:
    """A task in a folder beside this file: what its networks learn from and find, and how that is scored."""

    labels: Labels
    """What its networks learn from."""

    finds: str
    """What its networks find in an image. Runs that find different things can't be compared."""

    metrics: tuple[Metric, ...]
    """What an evaluation gives; the first is what the best checkpoint and comparisons go by, unless asked."""

    per_image: type[PerImage]
    """The results on each image, which comparisons resample."""

    saves_predictions: bool
    """Whether there is a file format for what its networks find."""

    load: Callable[[], "AnyTask"]
    """Import the task itself, and torch with it."""

    formats: tuple[PredictionFormat, ...] = ()
    """What `dcnrun predict` can write of what its networks find; () where it can't be asked."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics as they are logged."""
        return tuple(metric.name for metric in self.metrics)

    def metric(self, config: Config) -> str:
        """Return the name of the metric that the best checkpoint and comparisons go by."""
        return config.trainer.metric or self.metrics[0].name
