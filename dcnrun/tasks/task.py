"""What a task is: all that training, evaluation and the command line need to know of it.

A task is a folder beside this file with a subclass of `Task` and its `TaskTraits`, which rows of `registry.py` name.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from dcnrun.config.schema import Config, DataConfig
from dcnrun.scores import PerImage
from dcnrun.tasks.traits import TaskTraits

Labelled = Any
"""A data set of samples with the labels that a task learns from."""

Batch = Mapping[str, Any]
"""A batch of such samples; `image` (B, 3, H, W) and `index`, their places in the data set, are in every task's."""

Predictions = Any
"""What a network says of a batch, in pixels of the images as the data set has them."""


class Evaluation(Protocol):
    """The scores of a network on a data set."""

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that are logged, such as `val/miou`."""

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """Some of them for each class, by metric and class; NaN for a class that can't be scored."""

    @property
    def images(self) -> PerImage:
        """Results on each image, which comparisons resample."""

    def write_predictions(self, path: Path) -> None:
        """Write what the network said; UsageError where the task has no file format for that."""


class Evaluator(Protocol):
    """Gathers predictions over batches and processes."""

    def update(self, predictions: Predictions, batch: Any) -> None:
        """Add a batch; an image that comes twice counts once."""

    def result(self) -> Evaluation:
        """Scores of all that was added; collective over processes."""


class Task(ABC):
    """What a network is for. Stateless: every method gets what it works on."""

    traits: TaskTraits
    """What is known of it without its networks."""

    @abstractmethod
    def dataset(self, data: DataConfig, split: Literal["train", "val"]) -> Labelled:
        """The images with the task's labels; UsageError where the data set has none such."""

    @abstractmethod
    def problems(self, config: Config) -> Iterator[str]:
        """What keeps the config from being this task's, each problem a line naming the key and the value."""

    @abstractmethod
    def losses(self, network: nn.Module, batch: Any, world_size: int) -> dict[str, Tensor]:
        """The parts of the loss by name; training minimises their sum."""

    @abstractmethod
    def predict(self, network: nn.Module, batch: Any) -> Predictions:
        """What a network in evaluation mode says of a batch."""

    @abstractmethod
    def evaluator(self, dataset: Labelled) -> Evaluator:
        """An evaluator with nothing in it yet."""

    def dense_forward(self, network: nn.Module, image: Tensor) -> None:
        """Compute all of the network whose cost does not depend on what it sees, to count FLOPs."""
        network(image)


AnyTask = Task
