"""Semantic segmentation: which data, networks, loss and scores it has."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcnrun.config.schema import Architecture, Config, DataConfig, SmpConfig
from dcnrun.data import IGNORE, LabelledDataset, MaskBatch, Sample, SegmentationDataset, build_dataset
from dcnrun.data.sample import Split
from dcnrun.models.encoders import name_problems
from dcnrun.models.outline import learns_from_one_image
from dcnrun.tasks.segmentation.evaluator import SegmentationEvaluator
from dcnrun.tasks.segmentation.scores import SEGMENTATION
from dcnrun.tasks.task import Task


class Segmentation(Task[Sample, MaskBatch, Tensor]):
    """A class for every pixel."""

    traits = SEGMENTATION

    def dataset(self, data: DataConfig, split: Split) -> SegmentationDataset:
        """Images with masks."""
        return build_dataset(data, split)

    def problems(self, config: Config) -> Iterator[str]:
        """Settings of the head, and a batch that it can't be trained on."""
        model = config.model
        network = f"model={model.head}"
        pools = model.head is Architecture.deeplabv3
        processes = config.trainer.devices * config.trainer.nodes
        few = config.data.batch_size == processes
        if isinstance(model, SmpConfig):
            wrong = [*name_problems(model)]
            yield from wrong
            network = f"model.arch={model.arch}"
            pools = few and not wrong and not learns_from_one_image(model)
        if few and pools:
            yield (
                f"data.batch_size={config.data.batch_size} must be at least {2 * processes} with {network}: it normalises its "
                "pooled features, one value for an image, over the images that a process trains on at once"
            )

    def losses(self, network: nn.Module, batch: MaskBatch, world_size: int) -> dict[str, Tensor]:
        """Cross-entropy of the pixels."""
        return {"loss": pixel_loss(network(batch["image"]), batch["mask"], world_size)}

    def weight(self, batch: MaskBatch) -> int:
        """The pixels that have a class."""
        return int((batch["mask"] != IGNORE).sum())

    def predict(self, network: nn.Module, batch: MaskBatch) -> list[Tensor]:
        """The class of every pixel (h, w) of the images as the data set has them, whatever size the network saw them in."""
        scores: Tensor = network(batch["image"])
        return [
            _resized(of_image[:, : size.height, : size.width], truth.shape).argmax(0)
            for of_image, size, truth in zip(scores, batch["sizes"], batch["truth"], strict=True)
        ]

    def evaluator(self, dataset: LabelledDataset[Sample, MaskBatch]) -> SegmentationEvaluator:
        """Confusion matrices of every image."""
        return SegmentationEvaluator(dataset)

    def lacking(self, metric: str, dataset: LabelledDataset[Sample, MaskBatch]) -> str | None:
        """A pixel that is labelled: masks are read up to the first that has one."""
        labelled = ((dataset[index]["mask"] != IGNORE).any() for index in range(len(dataset)))
        return None if any(labelled) else "a labelled pixel"


def _resized(scores: Tensor, size: Sequence[int]) -> Tensor:
    """Scores (C, h, w) of an image in another (height, width)."""
    if scores.shape[1:] == size:
        return scores
    return F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]


def pixel_loss(scores: Tensor, mask: Tensor, world_size: int = 1) -> Tensor:
    """Mean cross-entropy over labelled pixels; 0 for a batch without any.

    Over several processes the mean is over all their pixels, so that the gradient is that of one process with the whole
    batch: each divides by the mean number of labelled pixels.
    """
    total = F.cross_entropy(scores, mask, ignore_index=IGNORE, reduction="sum")
    labelled = (mask != IGNORE).sum().to(total.dtype)
    if world_size > 1:
        torch.distributed.all_reduce(labelled)
        labelled = labelled / world_size
    return total / labelled.clamp(min=1)
