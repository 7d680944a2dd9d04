"""Semantic segmentation: which data, networks, loss and scores it has."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcnrun.config.schema import Architecture, Config, DataConfig, MaskModelConfig, ModelConfig, SmpConfig
from dcnrun.config.validate import must_be
from dcnrun.data import IGNORE, LabelledDataset, MaskBatch, Sample, SegmentationDataset, build_dataset
from dcnrun.data.sample import Size, Split
from dcnrun.errors import UsageError
from dcnrun.models.encoders import name_problems
from dcnrun.models.outline import learns_from_one_image
from dcnrun.tasks.found import Found
from dcnrun.tasks.segmentation.evaluator import SegmentationEvaluator
from dcnrun.tasks.segmentation.losses import balanced_weights, loss_problems, pixel_losses, pixel_weight
from dcnrun.tasks.segmentation.scores import SEGMENTATION
from dcnrun.tasks.segmentation.stitching import ScoreStitcher
from dcnrun.tasks.task import Task
from dcnrun.tasks.tiles import Tiling


class Segmentation(Task[Sample, MaskBatch, Tensor]):
    """A class for every pixel."""

    traits = SEGMENTATION

    def dataset(self, data: DataConfig, split: Split) -> SegmentationDataset:
        """Images with masks."""
        return build_dataset(data, split)

    def problems(self, config: Config) -> Iterator[str]:
        """Settings of the head and the loss, and a batch that it can't be trained on."""
        model = config.model
        assert isinstance(model, MaskModelConfig)
        yield from loss_problems(model)
        network = f"model={model.head}"
        pools = model.head in (Architecture.deeplabv3, Architecture.deeplabv3plus)
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

    def settled(self, model: ModelConfig, dataset: LabelledDataset[Sample, MaskBatch]) -> Mapping[str, Any]:
        """The weights of the classes, where they are auto."""
        assert isinstance(model, MaskModelConfig)
        weights = model.class_weights
        if weights == []:
            assert isinstance(dataset, SegmentationDataset)
            return {"class_weights": balanced_weights(dataset)}
        if weights is not None and len(weights) != len(dataset.classes):
            count = len(dataset.classes)
            raise UsageError(must_be("model.class_weights", weights, f"{count} numbers, one per class, or auto"))
        return {}

    def losses(self, network: nn.Module, batch: MaskBatch, config: Config, world_size: int) -> dict[str, Tensor]:
        """The terms of `model.loss`, each times its factor; one alone is called loss."""
        assert isinstance(config.model, MaskModelConfig)
        return pixel_losses(network(batch["image"]), batch["mask"], config.model, world_size)

    def weight(self, batch: MaskBatch, config: Config) -> float:
        """The pixels that have a class, each times the weight of it."""
        assert isinstance(config.model, MaskModelConfig)
        return pixel_weight(batch["mask"], config.model)

    def predict(self, network: nn.Module, batch: MaskBatch) -> list[Tensor]:
        """The class of every pixel (h, w) of the images as the data set has them, whatever size the network saw them in."""
        scores: Tensor = network(batch["image"])
        return [
            _resized(of_image[:, : size.height, : size.width], truth.shape).argmax(0)
            for of_image, size, truth in zip(scores, batch["sizes"], batch["truth"], strict=True)
        ]

    @property
    def samples(self) -> type[SegmentationDataset]:
        """Images with masks."""
        return SegmentationDataset

    def found(self, prediction: Tensor, size: Size, min_score: float) -> Found:
        """The class of every pixel."""
        return Found(size, classes=prediction.to(torch.uint8).cpu().numpy())

    def truth(self, batch: MaskBatch) -> list[Found]:
        """The masks."""
        return [Found(Size(*mask.shape), classes=mask.to(torch.uint8).cpu().numpy()) for mask in batch["truth"]]

    def tile_outputs(self, network: nn.Module, batch: MaskBatch) -> list[Tensor]:
        """The scores (C, h, w)."""
        return list(network(batch["image"]))

    def stitcher(self, tiling: Tiling, seen: Size, size: Size, model: ModelConfig) -> ScoreStitcher:
        """Scores are blended where tiles overlap."""
        return ScoreStitcher(tiling, seen, size)

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
