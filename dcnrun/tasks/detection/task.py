"""Detection: which data, networks, losses and scores it has."""

from collections.abc import Iterator
from math import inf
from typing import cast

import numpy as np
from torch import Tensor, nn

from dcnrun.config.schema import Config, DataConfig, DetectionModelConfig, FasterRcnnConfig, ModelConfig
from dcnrun.data import BoxBatch, BoxDataset, BoxSample, LabelledDataset, build_box_dataset, labels_of
from dcnrun.data.box_batches import BoxTruth
from dcnrun.data.sample import Size, Split
from dcnrun.data.transforms import needs_masks
from dcnrun.errors import ConfigError
from dcnrun.models.encoders import encoder_name_problems
from dcnrun.tasks.detection.detector import DetectionNetwork, Detections, Target
from dcnrun.tasks.detection.evaluator import DetectionEvaluator
from dcnrun.tasks.detection.scores import AREAS, DETECTION
from dcnrun.tasks.detection.stitching import DetectionStitcher
from dcnrun.tasks.found import Found, FoundObjects
from dcnrun.tasks.task import Task
from dcnrun.tasks.tiles import Tiling

_PYRAMID_LEVELS = 5  # p2 to p6 of Faster R-CNN, p3 to p7 of RetinaNet

_WARPED_BOXES = (
    "the box of a rotated or deformed object is known from its mask alone. Leave data.random_rotation and data.elastic at 0"
    " (data.quarter_turns and flips keep boxes exact)"
)


class Detection(Task[BoxSample, BoxBatch, Detections]):
    """Boxes of objects, with their classes."""

    traits = DETECTION

    def dataset(self, data: DataConfig, split: Split) -> BoxDataset:
        """Images with boxes; to train on with the masks that augmentation needs, ConfigError where an object has none."""
        opens_masks = split == "train" and needs_masks(data)
        dataset = build_box_dataset(data, split, masks=opens_masks)
        if opens_masks and (bare := dataset.without_mask()):
            raise ConfigError([f"{_warp(data)}: training objects without a mask: {bare}; {_WARPED_BOXES}"])
        return dataset

    def problems(self, config: Config) -> Iterator[str]:
        """Settings of the network, and augmentation that needs masks where there can be none."""
        assert isinstance(config.model, DetectionModelConfig)
        if needs_masks(config.data) and "instances" not in labels_of(config.data):
            yield f"{_warp(config.data)}: data={config.data.source} has no masks of objects; {_WARPED_BOXES}"
        yield from detector_problems(config.model)

    def losses(self, network: nn.Module, batch: BoxBatch, config: Config, world_size: int) -> dict[str, Tensor]:
        """Of proposals and of regions, classes and boxes, as torchvision weighs them: each a mean over a process's images."""
        losses: dict[str, Tensor] = network(batch["image"], batch["sizes"], self.targets(batch))
        return losses

    def targets(self, batch: BoxBatch) -> list[Target]:
        """What a network learns from each image."""
        return [{"boxes": b, "labels": c} for b, c in zip(batch["boxes"], batch["labels"], strict=True)]

    def predict(self, network: nn.Module, batch: BoxBatch) -> list[Detections]:
        """Detections in pixels of the images as the data set has them, whatever size the network saw them in."""
        seen: list[Detections] = network(batch["image"], batch["sizes"])
        return [
            {**detections, "boxes": _rescaled(detections["boxes"], size, truth["size"])}
            for detections, size, truth in zip(seen, batch["sizes"], batch["truth"], strict=True)
        ]

    @property
    def samples(self) -> type[BoxDataset]:
        """Images with boxes."""
        return BoxDataset

    def found(self, prediction: Detections, size: Size, min_score: float) -> Found:
        """The boxes, their scores and classes."""
        chosen = surest(prediction, min_score)
        boxes, scores = (chosen[key].double().cpu().numpy() for key in ("boxes", "scores"))
        return Found(size, objects=FoundObjects(boxes, scores, chosen["labels"].cpu().numpy(), masks=None))

    def truth(self, batch: BoxBatch) -> list[Found]:
        """The objects that are to be found, each as sure as can be; neither crowds nor difficult ones."""
        return [_truth_of(objects) for objects in batch["truth"]]

    def tile_outputs(self, network: nn.Module, batch: BoxBatch) -> list[Detections]:
        """What was found, in pixels of the tiles."""
        return self.predict(network, batch)

    def stitcher(self, tiling: Tiling, seen: Size, size: Size, model: ModelConfig) -> DetectionStitcher:
        """Objects that several tiles see are kept once."""
        assert isinstance(model, DetectionModelConfig)
        return DetectionStitcher(model.nms_threshold, seen, size)

    def evaluator(self, dataset: LabelledDataset[BoxSample, BoxBatch]) -> DetectionEvaluator:
        """Matches of detections and objects in every image."""
        return DetectionEvaluator(dataset)

    def lacking(self, metric: str, dataset: LabelledDataset[BoxSample, BoxBatch]) -> str | None:
        """An object of the size that the metric is of; of any size for the others. Looks no further than the first."""
        assert isinstance(dataset, BoxDataset)
        least, most, words = AREAS.get(metric, (0.0, inf, ""))
        of_images = map(dataset.areas, range(len(dataset)))
        if any(((least <= areas) & (areas <= most)).any() for areas in of_images):
            return None
        return f"an object to be found{words}"

    def dense_forward(self, network: nn.Module, image: Tensor) -> None:
        """All but suppression, with as many regions as `model.proposals`."""
        assert isinstance(network, DetectionNetwork)
        network.dense_forward(image)


def surest(found: Detections, min_score: float) -> Detections:
    """Return the detections that score at least `min_score`, the surest first."""
    order = found["scores"].argsort(descending=True, stable=True)
    order = order[found["scores"][order] >= min_score]
    return cast(Detections, {key: values[order] for key, values in cast(dict[str, Tensor], found).items()})


def _warp(data: DataConfig) -> str:
    keys = ("random_rotation", "elastic")
    return ", ".join(f"data.{key}={getattr(data, key):g}" for key in keys if getattr(data, key))


def _rescaled(boxes: Tensor, size: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Boxes in an image of (height, width) `size`, in one of `wanted` size."""
    y, x = wanted[0] / size[0], wanted[1] / size[1]
    return boxes * boxes.new_tensor([x, y, x, y])


def detector_problems(model: DetectionModelConfig) -> Iterator[str]:
    """Return what keeps a detector from being built, each problem a line naming the key and the value."""
    if model.encoder is not None:
        yield from encoder_name_problems(model.encoder)
    if isinstance(model, FasterRcnnConfig):
        yield from _faster_rcnn_problems(model)
    if not isinstance(model, FasterRcnnConfig) or model.fpn:
        yield from _pyramid_problems(model)


def _pyramid_problems(model: DetectionModelConfig) -> Iterator[str]:
    if len(model.anchor_sizes) != _PYRAMID_LEVELS:
        yield (
            f"model.anchor_sizes={model.anchor_sizes} must be {_PYRAMID_LEVELS} sizes, one for each level of the feature "
            "pyramid, the finest first, e.g. [32, 64, 128, 256, 512]"
        )


def _faster_rcnn_problems(model: FasterRcnnConfig) -> Iterator[str]:
    if model.fpn:
        return
    if model.encoder is not None:
        yield (
            f"model.encoder={model.encoder} does not fit model.fpn=false, which pools from a c5 dilated to c4's stride, as a ResNet's can "
            "be: leave one of them out"
        )
    elif model.output_stride != 16:
        yield (
            f"model.output_stride={model.output_stride} does not fit model.fpn=false, which pools from a c5 dilated to c4's "
            "stride: set model.output_stride=16"
        )
    if model.fpn_norm:
        yield "model.fpn_norm=true does nothing with model.fpn=false"


def _truth_of(objects: BoxTruth) -> Found:
    wanted = (~(objects["crowd"] | objects["difficult"])).nonzero()[:, 0].tolist()
    boxes, labels = objects["boxes"][wanted].double().cpu().numpy(), objects["labels"][wanted].cpu().numpy()
    masks = objects["masks"] and [dict(objects["masks"][index]) for index in wanted]
    return Found(objects["size"], objects=FoundObjects(boxes, np.ones(len(wanted)), labels, masks or None))
