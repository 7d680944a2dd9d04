"""An exported file on a run's own validation images, beside PyTorch: differences, labels, scores and speed."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torchvision.transforms import v2

from dcnrun.config.schema import Config, DataConfig
from dcnrun.console import console
from dcnrun.data import LabelledDataset, MaskBatch, Sample, SegmentationDataset
from dcnrun.data.sample import even_indices
from dcnrun.errors import DcnrunError
from dcnrun.export.targets import TARGETS, Target
from dcnrun.scores import as_percent
from dcnrun.tasks.registry import metric_title, task_of
from dcnrun.training.progress import ImageProgress
from dcnrun.training.validation import in_memory_format

MOST_CHANGED = 0.1
"""The largest share of labels that 8 bits may change: beyond it the score agrees by chance."""
ROUNDS, SECONDS = 15, 20.0
"""The most times that an image is timed, and the seconds after which it is not timed again."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How an exported file does on validation images, beside PyTorch on the same."""

    images: int
    images_of_the_set: int
    metrics: dict[str, float]
    """The file's scores."""
    pytorch_metrics: dict[str, float]
    images_per_second: float
    """By the median time of the first image alone."""
    pytorch_images_per_second: float
    threads: int

    def show(self, metric: str, target: Target, compared: Iterable[Sequence[str]]) -> None:
        """Print scores and speeds beside each other, then rows of what was compared: its name, of the file, of PyTorch."""
        traits = TARGETS[target]
        every = self.images == self.images_of_the_set
        images = "all" if every else f"{self.images}, evenly, of"
        table = Table("", traits.runtime, "PyTorch", title=f"On {images} {self.images_of_the_set} validation images")
        scores = (as_percent(each[metric]) for each in (self.metrics, self.pytorch_metrics))
        table.add_row(f"{metric_title(metric)} ", *scores)
        table.add_row("images/s", f"{self.images_per_second:.3g}", f"{self.pytorch_images_per_second:.3g}")
        for row in compared:
            table.add_row(*row)
        console.print(table)
        speed = f"images/s: the first image alone, by turns, on {self.threads} CPU threads; PyTorch is eager, in fp32."
        for line in filter(None, (traits.note, speed)):
            console.print(line, markup=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class MaskAgreement(Agreement):
    """Of a network that scores pixels."""

    largest_difference: float
    """Of the outputs."""
    largest_score: float
    changed_labels: float
    """The share of pixels that have another class."""

    def lost_points(self, metric: str) -> float:
        """Return by how many points, hundredths, the file scores below PyTorch."""
        return 100 * (self.pytorch_metrics[metric] - self.metrics[metric])

    def require_quality(self, metric: str, max_drop: float) -> None:
        """Raise DcnrunError where the file scores more than so many points below PyTorch, or `MOST_CHANGED` labels are others.

        That is the rule of 8 bits, whose outputs are not PyTorch's up to rounding.
        """
        lost = self.lost_points(metric)
        if lost <= max_drop and self.changed_labels <= MOST_CHANGED:
            return
        raise DcnrunError(
            f"On {self.images} validation images the file in 8 bits scores {lost:.3g} points below PyTorch ({metric}), and changes the "
            f"labels of {100 * self.changed_labels:.3g} % of the pixels; allowed are {max_drop:g} points (--max-drop) and "
            f"{100 * MOST_CHANGED:g} %. No file was written: try more --calibration-images, or --precision fp16."
        )


class _Answers(nn.Module):
    """A network whose outputs are computed already."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, _: Tensor) -> Tensor:
        return self.scores


def agreement(
    network: nn.Module,
    exported: nn.Module,
    config: Config,
    dataset: LabelledDataset[Any, Any],
    limit: int,
    size: tuple[int, int] | None,
    tolerance: float,
) -> MaskAgreement:
    """Run validation images through a network and the file made of it; DcnrunError where the outputs differ too much.

    Args:
        network: the network in PyTorch; it computes in the memory format that the run's settings say, in fp32 on the CPU.
        exported: the file, in the network's place.
        config: the run's settings.
        dataset: its validation images.
        limit: the most of them that are seen, evenly over the set.
        size: height and width that images are resized to; None: as in evaluation.
        tolerance: the largest difference, as a share of the largest score.
    """
    task = task_of(config.model)
    network = in_memory_format(network, config).eval()
    chosen = _Chosen(dataset, limit)
    evaluators = task.evaluator(chosen), task.evaluator(chosen)
    difference = largest = 0.0
    changed = pixels = 0
    first: Tensor | None = None
    console.print(f"Comparing with PyTorch on {len(chosen)} validation images.")
    with torch.inference_mode():
        with ImageProgress(len(chosen)) as progress:
            for batch in _batches(chosen, config.data, size):
                image = _laid_out(batch["image"], config)
                wanted, got = network(image), exported(batch["image"])
                first = image if first is None else first
                difference = max(difference, float((got - wanted).abs().max()))
                largest = max(largest, float(wanted.abs().max()))
                found = [task.predict(_Answers(scores), batch) for scores in (got, wanted)]
                for evaluator, predictions in zip(evaluators, found, strict=True):
                    evaluator.update(predictions, batch)
                for ours, pytorchs in zip(*found, strict=True):
                    changed += int((ours != pytorchs).sum())
                    pixels += ours.numel()
                progress.advance()
        assert first is not None
        if not difference <= tolerance * largest:
            raise DcnrunError(
                f"On {len(chosen)} validation images the file's output differs from PyTorch's by {difference:.3g}, of scores up "
                f"to {largest:.3g}; allowed is a share of {tolerance:g}. No file was written: please report it, with the network."
            )
        plain = first.contiguous()
        speed, pytorch_speed = images_per_second(partial(exported, plain), partial(network, first))
    scores, pytorch_scores = (evaluator.result().metrics for evaluator in evaluators)
    return MaskAgreement(
        images=len(chosen),
        images_of_the_set=len(dataset),
        metrics=scores,
        pytorch_metrics=pytorch_scores,
        images_per_second=speed,
        pytorch_images_per_second=pytorch_speed,
        threads=torch.get_num_threads(),
        largest_difference=difference,
        largest_score=largest,
        changed_labels=changed / pixels,
    )


class _Chosen(SegmentationDataset):
    """Some images of a data set, as a data set of their own."""

    def __init__(self, dataset: LabelledDataset[Sample, MaskBatch], limit: int) -> None:
        self.classes = dataset.classes
        self._dataset = dataset
        self._indices = even_indices(len(dataset), limit)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._dataset[self._indices[index]]

    def name(self, index: int) -> str:
        return self._dataset.name(self._indices[index])


def _batches(dataset: SegmentationDataset, data: DataConfig, size: tuple[int, int] | None) -> Iterator[MaskBatch]:
    """Yield each image as evaluation would see it alone; of another size, its truth stays in its own."""
    preparation = dataset.evaluation(data if size is None else replace(data, eval_short_side=0))
    for index in range(len(dataset)):
        sample = dataset[index]
        if size is None:
            yield preparation.batch_of_one(sample, index)
        else:
            batch = preparation.batch_of_one(resized(sample, size), index)
            yield {**batch, "truth": [sample["mask"].as_subclass(Tensor)]}


def resized(sample: Sample, size: tuple[int, int]) -> Sample:
    """Return a sample whose image and mask have another height and width."""
    image, mask = v2.Resize(size)(sample["image"], sample["mask"])
    return {**sample, "image": image, "mask": mask}


def _laid_out(image: Tensor, config: Config) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last) if config.trainer.channels_last else image


def images_per_second(*computations: Callable[[], Any]) -> list[float]:
    """Return how often a second each is done, by its median time; they take turns."""
    times: list[list[float]] = [[] for _ in computations]
    for computation in computations:
        computation()
    until = time.perf_counter() + SECONDS
    while len(times[0]) < ROUNDS and (not times[0] or time.perf_counter() < until):
        for computation, its_times in zip(computations, times, strict=True):
            started = time.perf_counter()
            computation()
            its_times.append(time.perf_counter() - started)
    return [1 / statistics.median(each) for each in times]
