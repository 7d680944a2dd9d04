"""What a task is: all that training, evaluation and the command line need to know of it.

A task is a folder beside this file with a subclass of `Task` and its `TaskTraits`, which rows of `registry.py` name.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from torch import Tensor, nn

from dcnrun.config.schema import Config, DataConfig, ModelConfig
from dcnrun.data.sample import Batch, ImageSample, LabelledDataset, Size, Split
from dcnrun.scores import PerImage
from dcnrun.tasks.found import Found
from dcnrun.tasks.tiles import Stitcher, Tiling
from dcnrun.tasks.traits import TaskTraits

SampleT = TypeVar("SampleT", bound=ImageSample)
"""An image and what a task learns from, as a data set gives them."""

BatchT = TypeVar("BatchT", bound=Batch)
"""Several samples as a network sees them."""

PredictionT = TypeVar("PredictionT")
"""What a network says of an image, in pixels of the image as the data set has it."""

_BatchT = TypeVar("_BatchT", bound=Batch, contravariant=True)
_PredictionT = TypeVar("_PredictionT", contravariant=True)


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
        """Write what the network said, if the task's traits say that it can be saved."""


class Evaluator(Protocol[_BatchT, _PredictionT]):
    """Gathers predictions over batches and processes."""

    def update(self, predictions: Sequence[_PredictionT], batch: _BatchT) -> None:
        """Add the predictions for each image of a batch; an image that comes twice counts once."""

    def result(self) -> Evaluation:
        """Score all that was added; collective over processes."""


class Task(ABC, Generic[SampleT, BatchT, PredictionT]):
    """What a network is for. Stateless: every method gets what it works on."""

    traits: TaskTraits
    """What is known of it without its networks."""

    @abstractmethod
    def dataset(self, data: DataConfig, split: Split) -> LabelledDataset[SampleT, BatchT]:
        """Open the images with the task's labels; UsageError where the data set has none such."""

    @abstractmethod
    def problems(self, config: Config) -> Iterator[str]:
        """Yield what keeps the config from being this task's, each problem a line naming the key and the value."""

    def settled(self, model: ModelConfig, dataset: LabelledDataset[SampleT, BatchT]) -> Mapping[str, Any]:
        """Return the settings of the network that it leaves to the training images, with the values that these give.

        UsageError where others don't fit the images.
        """
        return {}

    @abstractmethod
    def losses(self, network: nn.Module, batch: BatchT, config: Config, world_size: int) -> dict[str, Tensor]:
        """Return the parts of the loss by name; training minimises their sum."""

    def weight(self, batch: BatchT, config: Config) -> float:
        """Return what a batch counts for where the losses of several are averaged: its images, or what its losses are means over."""
        return len(batch["image"])

    @abstractmethod
    def predict(self, network: nn.Module, batch: BatchT) -> list[PredictionT]:
        """Return what a network in evaluation mode says of each image of a batch."""

    @abstractmethod
    def evaluator(self, dataset: LabelledDataset[SampleT, BatchT]) -> Evaluator[BatchT, PredictionT]:
        """Return an evaluator with nothing in it yet."""

    def lacking(self, metric: str, dataset: LabelledDataset[SampleT, BatchT]) -> str | None:
        """Return what a metric is a score of and no image has, such as `a large object`; None where it can be had."""
        return None

    @property
    def samples(self) -> type[LabelledDataset[SampleT, BatchT]]:
        """The class of its data sets, which prepares images of which nothing is known; for tasks with formats of predictions."""
        raise NotImplementedError

    def found(self, prediction: PredictionT, size: Size, min_score: float) -> Found:
        """Return a prediction of an image of that size as it is written and drawn; for tasks with formats of predictions.

        Objects that score less than `min_score` are left out.
        """
        raise NotImplementedError

    def truth(self, batch: BatchT) -> list[Found]:
        """Return what there is in each image of a batch of evaluation, as it is drawn; for tasks with formats of predictions.

        Pixels of no class have a number that is none's.
        """
        raise NotImplementedError

    def tile_outputs(self, network: nn.Module, batch: BatchT) -> list[Any]:
        """Return what a network says of each tile of a batch, as the task's stitcher takes it; for tasks with formats of predictions."""
        raise NotImplementedError

    def stitcher(self, tiling: Tiling, seen: Size, size: Size, model: ModelConfig) -> Stitcher[Any, PredictionT]:
        """Return what puts the tiles of an image together; for tasks with formats of predictions.

        Args:
            tiling: how the image is cut.
            seen: the size in which the network sees it.
            size: its own, whose pixels the prediction is in.
            model: the network's settings.
        """
        raise NotImplementedError

    def dense_forward(self, network: nn.Module, image: Tensor) -> None:
        """Compute all of the network whose cost does not depend on what it sees, to count FLOPs."""
        network(image)


AnyTask: TypeAlias = Task[Any, Any, Any]
"""A task that was looked up: which types it has is known only where it is used as a whole."""
