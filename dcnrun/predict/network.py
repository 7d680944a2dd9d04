"""A run's network, ready to predict: from images to what it finds, prepared as in evaluation."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import nn
from torchvision.transforms import v2
from torchvision.tv_tensors import Image, wrap

from dcnrun.config.schema import Config, DetectionModelConfig
from dcnrun.data import Batch, LabelledDataset
from dcnrun.data.sample import Preparation, Size, Split, require_numbers
from dcnrun.data.transforms import evaluation_size
from dcnrun.errors import UsageError
from dcnrun.predict.options import DATA, Options
from dcnrun.tasks.found import Found
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.task import AnyTask
from dcnrun.tasks.tiles import Tiling
from dcnrun.training.launch import launch
from dcnrun.training.trained_run import TrainedRun, load_trained_run, matched_by_name
from dcnrun.training.validation import in_memory_format, on_device


class Prepared(NamedTuple):
    """An image as a network takes it, and its size before."""

    transformed: Any
    """What the preparation made of the image by itself; None of one that is seen in tiles."""
    size: Size
    name: str
    to_cut: Image | None = None
    """The image in the size that the network sees, of one that is seen in tiles."""


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
    tiling: Tiling | None = None
    """How images are cut that are larger than a tile when the network sees them."""
    tiles_at_once: int = 1

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
        """Prepare an image (C, H, W); DataError where it has other bands than the network sees, or numbers of another scale."""
        size = Size(*image.shape[-2:])
        if self.tiling is not None:
            resized: Image = v2.Compose([*evaluation_size(self.config.data), v2.Identity()])(image)
            if self.tiling.is_for(Size(*resized.shape[-2:])):
                require_numbers(image, self.config.data, name)
                return Prepared(None, size, name, resized)
        return Prepared(self.preparation.transform(self.task.samples.unlabelled(image, name)), size, name)

    def predict(self, images: Sequence[Prepared]) -> Iterator[tuple[int, Any]]:
        """Yield the index of each image and the prediction for it.

        Images of one size are seen together, others apart: what a network answers does not depend on an image's neighbours.
        """
        of_size: dict[Size, list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            if image.to_cut is not None:
                yield index, self._stitched(image.to_cut, image)
            else:
                of_size[image.size].append(index)
        for indices in of_size.values():
            batch = self.batch([images[index] for index in indices])
            with torch.inference_mode(), self.fabric.autocast():
                predictions: list[Any] = self.task.predict(self.network, batch)
            yield from zip(indices, predictions, strict=True)

    def _stitched(self, seen: Image, image: Prepared) -> Any:
        """Return the prediction for an image of which the network sees a few tiles at a time."""
        assert self.tiling is not None
        size = Size(*seen.shape[-2:])
        stitcher = self.task.stitcher(self.tiling, size, image.size, self.config.model)
        preparation = self.task.samples.evaluation(replace(self.config.data, eval_short_side=0, long_side_max=0))
        for _, tiles in groupby(self.tiling.tiles(size), lambda tile: tile.size):
            while together := list(islice(tiles, self.tiles_at_once)):
                cut = [wrap(seen[:, t.top : t.top + t.height, t.left : t.left + t.width], like=seen) for t in together]
                samples = [self.task.samples.unlabelled(part, image.name) for part in cut]
                batch = preparation.batch([(sample, 0) for sample in samples], list(range(len(samples))))
                with torch.inference_mode(), self.fabric.autocast():
                    outputs = self.task.tile_outputs(self.network, on_device(batch, self.fabric, self.config))
                    for tile, output in zip(together, outputs, strict=True):
                        stitcher.add(tile, output)
        with torch.inference_mode():
            return stitcher.result()

    def batch(self, images: Sequence[Prepared]) -> Batch:
        """Put images together, on the network's device."""
        transformed = [image.transformed for image in images]
        names = [image.name for image in images]
        batch: Batch = self.preparation.collate(transformed, list(range(len(images))), names)
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
    if options.min_score is not None and isinstance(config.model, DetectionModelConfig):
        config.model.score_threshold = min(config.model.score_threshold, options.min_score)
    dataset = None if split is None else _images(trained, split)
    classes = trained.classes or trained.val_set().classes  # older checkpoints don't say
    fabric = launch(config)
    network = in_memory_format(trained.model(len(classes)).network, config).to(fabric.device).eval()
    tiling = options.tiling()
    return Predictor(
        name=name,
        checkpoint=trained.path,
        step=trained.step,
        config=config,
        task=task,
        fabric=fabric,
        network=network,
        classes=classes,
        dataset=dataset,
        tiling=None if tiling is None else Tiling(*tiling),
        tiles_at_once=options.batch or 1,
    )


def _images(trained: TrainedRun, split: Split) -> LabelledDataset[Any, Any]:
    if split == "val":
        return trained.val_set()
    dataset = task_of(trained.config.model).dataset(trained.config.data, split)
    return dataset if trained.classes is None else matched_by_name(dataset, trained.classes, str(trained.path))
