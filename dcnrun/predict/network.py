"""A run's network, ready to predict: from images to what it finds, prepared as in evaluation."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import nn
from torchvision.tv_tensors import Image

from dcnrun.config.schema import Config
from dcnrun.data import Batch, LabelledDataset
from dcnrun.data.sample import Preparation, Size, Split
from dcnrun.errors import UsageError
from dcnrun.predict.options import DATA, Options
from dcnrun.tasks.found import Found
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.task import AnyTask
from dcnrun.training.launch import launch
from dcnrun.training.trained_run import TrainedRun, load_trained_run, matched_by_name
from dcnrun.training.validation import in_memory_format, on_device


class Prepared(NamedTuple):
    """An image as a network takes it, and its size before."""

    transformed: Any
    """What the preparation made of the image by itself."""
    size: Size
    name: str


@dataclass(frozen=True)
class Predictor:
    """A network with the weights of a checkpoint, in evaluation mode on its device."""

    name: str
    """The run's, unlike that of any other run beside it."""
    checkpoint: Path
    step: int
    config: Config
    task: AnyTask
    fabric: Fabric
    network: nn.Module
    classes: tuple[str, ...]
    dataset: LabelledDataset[Any, Any] | None
    """The images of the run's data set, where they are asked for."""

    @property
    def bands(self) -> tuple[int, ...]:
        """The bands of image files that the network sees."""
        return tuple(self.config.data.bands)

    def digest(self) -> str:
        """Return what tells the checkpoint from others."""
        with self.checkpoint.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]

    @cached_property
    def preparation(self) -> Preparation[Any, Any, Any]:
        """What makes batches of images, as in evaluation."""
        return self.task.samples.evaluation(self.config.data)

    def prepared(self, image: Image, name: str) -> Prepared:
        """Prepare an image (C, H, W); DataError where it has other bands than the network sees."""
        sample = self.task.samples.unlabelled(image, name)
        return Prepared(self.preparation.transform(sample), Size(*image.shape[-2:]), name)

    def predict(self, images: Sequence[Prepared]) -> Iterator[tuple[int, Any]]:
        """Yield the index of each image and the prediction for it.

        Images of one size are seen together, others apart: what a network answers does not depend on an image's neighbours.
        """
        of_size: dict[Size, list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            of_size[image.size].append(index)
        for indices in of_size.values():
            batch = self.batch([images[index] for index in indices])
            with torch.inference_mode(), self.fabric.autocast():
                predictions: list[Any] = self.task.predict(self.network, batch)
            yield from zip(indices, predictions, strict=True)

    def batch(self, images: Sequence[Prepared]) -> Batch:
        """Put images together, on the network's device."""
        transformed, _, names = zip(*images, strict=True)
        batch: Batch = self.preparation.collate(transformed, list(range(len(images))), list(names))
        return on_device(batch, self.fabric, self.config)

    def found(self, prediction: Any, size: Size, min_score: float) -> Found:
        """Return a prediction as it is written and drawn."""
        with torch.inference_mode():
            return self.task.found(prediction, size, min_score)


def load_predictors(
    folders: Sequence[str], words: Sequence[str], overrides: Sequence[str], options: Options
) -> list[Predictor]:
    """Load the networks of runs; UsageError where they can't be predicted with side by side."""
    names = run_names([Path(folder).resolve().name for folder in folders])
    split: Split | None = (options.split or "val") if DATA in words else None
    loaded = [
        _load(folder, name, split, [*overrides, *_settings(options)], options)
        for folder, name in zip(folders, names, strict=True)
    ]
    first = loaded[0]
    for other in loaded[1:]:
        if other.task.traits.finds != first.task.traits.finds:
            raise UsageError(
                f"{first.name} finds {first.task.traits.finds}, {other.name} {other.task.traits.finds}: give runs that find the same."
            )
        if set(other.classes) != set(first.classes):
            raise UsageError(
                f"{first.name} has the classes {', '.join(first.classes)}, {other.name} {', '.join(other.classes)}: give runs with the same."
            )
    return loaded


def run_names(names: Sequence[str]) -> list[str]:
    """Return the names of runs, a repeated one with a number."""
    found: list[str] = []
    for name in names:
        again = (f"{name}-{number}" for number in range(2, len(names) + 2))
        found.append(next(one for one in (name, *again) if one not in found))
    return found


def _settings(options: Options) -> list[str]:
    """Return the overrides that options stand for."""
    batch = [] if options.batch is None else [f"data.eval_batch_size={options.batch}"]
    return batch + ([] if options.device is None else [f"trainer.accelerator={options.device}"])


def _load(run: str, name: str, split: Split | None, overrides: Sequence[str], options: Options) -> Predictor:
    trained = load_trained_run(Path(run), options.checkpoint, overrides)
    config, task = trained.config, task_of(trained.config.model)
    if not task.traits.formats:
        raise UsageError(f"{run}: there is no file format for what its network finds ({task.traits.finds}).")
    dataset = None if split is None else _images(trained, split)
    classes = trained.classes or trained.val_set().classes  # older checkpoints don't say
    fabric = launch(config)
    network = in_memory_format(trained.model(len(classes)).network, config).to(fabric.device).eval()
    return Predictor(name, trained.path, trained.step, config, task, fabric, network, classes, dataset)


def _images(trained: TrainedRun, split: Split) -> LabelledDataset[Any, Any]:
    if split == "val":
        return trained.val_set()
    dataset = task_of(trained.config.model).dataset(trained.config.data, split)
    return dataset if trained.classes is None else matched_by_name(dataset, trained.classes, str(trained.path))
