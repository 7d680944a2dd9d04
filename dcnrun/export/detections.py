"""What two networks find in the same images, compared: which detections have a partner, and how far partners are apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from dcnrun.config.schema import Config
from dcnrun.data import BoxBatch, BoxDataset
from dcnrun.data.sample import even_indices
from dcnrun.errors import DataError, DcnrunError
from dcnrun.export.description import Description
from dcnrun.export.formats import ExportedNetwork
from dcnrun.export.verification import Agreement, images_per_second
from dcnrun.tasks.detection.detector import DetectionNetwork, Detections
from dcnrun.tasks.registry import task_of

MOST_ALONE = 0.01
"""The share of detections that may be without a partner: rounding tips a suppression now and then, a wrong node changes most boxes."""


@dataclass(frozen=True)
class Partners:
    """Detections of two networks in the same images."""

    detections: int = 0
    """Of both."""
    alone: int = 0
    """Those without a partner in the other network's."""
    largest_distance: float = 0.0
    """Of two partners' corners, along an axis, in pixels."""
    largest_difference: float = 0.0
    """Of two partners' scores."""

    def __add__(self, other: "Partners") -> "Partners":
        return Partners(
            self.detections + other.detections,
            self.alone + other.alone,
            max(self.largest_distance, other.largest_distance),
            max(self.largest_difference, other.largest_difference),
        )

    @property
    def share_alone(self) -> float:
        """The share of detections without a partner."""
        return self.alone / max(self.detections, 1)

    def require_few_alone(self, where: str, tolerance: float) -> None:
        """Raise DcnrunError where too many are without a partner."""
        if self.share_alone > MOST_ALONE:
            raise DcnrunError(
                f"{where}, {self.alone} of {self.detections} detections of the file and of PyTorch have no partner in the other's: one of "
                f"their class whose corners are no further off than {tolerance:g} of the box's longer side, and its score (and mask) no "
                f"further than {tolerance:g}. Allowed is {MOST_ALONE:.0%}. No file was written: please report it, with the network."
            )


def partners(found: Detections, wanted: Detections, tolerance: float) -> Partners:
    """Pair the detections of two networks in one image, each with the nearest in its place, the surest first.

    A partner has the same class, corners within `tolerance` of the longer side of the box, and score and mask within `tolerance`. What a network
    has left out since it found as many surer ones does not count as missing.
    """
    boxes, wanted_boxes = found["boxes"].double(), wanted["boxes"].double()
    distance = (wanted_boxes[:, None] - boxes).abs().amax(-1)
    difference = (wanted["scores"][:, None] - found["scores"]).abs().double()
    sides = (wanted_boxes[:, 2:] - wanted_boxes[:, :2]).amax(-1, keepdim=True)
    near = (wanted["labels"][:, None] == found["labels"]) & (distance <= tolerance * sides) & (difference <= tolerance)
    if "masks" in wanted:
        for row, column in near.nonzero().tolist():
            near[row, column] = (wanted["masks"][row] - found["masks"][column]).abs().max() <= tolerance
    pairs: list[tuple[int, int]] = []
    for row in wanted["scores"].argsort(descending=True).tolist():
        if near[row].any():
            column = int(torch.where(near[row], distance[row], torch.inf).argmin())
            near[:, column] = False
            pairs.append((row, column))
    rows, columns = (torch.tensor([pair[end] for pair in pairs], dtype=torch.long) for end in range(2))
    return Partners(
        detections=len(boxes) + len(wanted_boxes),
        alone=_missing(wanted, rows, found, tolerance) + _missing(found, columns, wanted, tolerance),
        largest_distance=float(distance[rows, columns].max()) if pairs else 0.0,
        largest_difference=float(difference[rows, columns].max()) if pairs else 0.0,
    )


def _missing(of: Detections, paired: Tensor, others: Detections, tolerance: float) -> int:
    """Return how many are without a partner among others, which may have been cut off where there are as many."""
    alone = torch.ones(len(of["scores"]), dtype=torch.bool)
    alone[paired] = False
    if len(others["scores"]) >= len(of["scores"]) > 0:
        alone &= of["scores"] > others["scores"].min() + tolerance
    return int(alone.sum())


class ExportedDetector(nn.Module):
    """An exported detector in the place of the network that it was made of: it takes images as a data set's batches have them.

    Where the file is for one size, images are resized to it, and boxes back.
    """

    def __init__(self, exported: ExportedNetwork, description: Description) -> None:
        super().__init__()
        self.exported, self.description = exported, description

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Return what is in each of the normalised images (N, C, H, W), of which each is padded beyond its size (height, width)."""
        return [
            self._in_one(image[None, :, :height, :width]) for image, (height, width) in zip(images, sizes, strict=True)
        ]

    def _in_one(self, image: Tensor) -> Detections:
        known, (height, width) = self.description, image.shape[2:]
        wanted = known.size or (height, width)
        if wanted != (height, width):
            image = F.interpolate(image, wanted, mode="bilinear", antialias=True)
        if known.normalises:
            image = known.pixels(image)
        outputs = self.exported.outputs(image.cpu().contiguous())
        found = dict(zip(known.outputs, outputs, strict=False))
        _check(found, known.outputs, outputs, len(known.classes))
        boxes = found["boxes"] * found["boxes"].new_tensor([width / wanted[1], height / wanted[0]] * 2)
        detections: Detections = {"boxes": boxes, "scores": found["scores"], "labels": found["labels"]}
        return {**detections, "masks": found["masks"]} if "masks" in found else detections


def _check(found: dict[str, Tensor], names: tuple[str, ...], outputs: tuple[Tensor, ...], classes: int) -> None:
    """Raise DataError where outputs are not detections of these classes."""
    count = len(outputs[0])
    right = (
        len(names) == len(outputs)
        and found["boxes"].shape == (count, 4)
        and found["scores"].shape == found["labels"].shape == (count,)
        and not found["labels"].is_floating_point()
        and bool(((found["labels"] >= 0) & (found["labels"] < classes)).all())
        and ("masks" not in found or found["masks"].shape[:2] == (count, 1))
    )
    if not right:
        shapes = ", ".join(str(tuple(output.shape)) for output in outputs)
        raise DataError(
            f"The outputs of the file are of the shapes {shapes}; expected are {', '.join(names)} of the same number of objects: "
            f"(objects, 4), (objects,), places in {classes} classes (objects,), and masks (objects, 1, s, s) where it has them."
        )


@dataclass(frozen=True, kw_only=True)
class DetectionAgreement(Agreement):
    """Of a detector."""

    partners: Partners


def detection_agreement(
    network: DetectionNetwork,
    exported: ExportedDetector,
    config: Config,
    dataset: BoxDataset,
    limit: int,
    size: tuple[int, int] | None,
    tolerance: float,
) -> DetectionAgreement:
    """Run validation images through a detector and the file made of it; DcnrunError where too many detections have no partner.

    Args:
        network: the detector in PyTorch, which computes in fp32 on the CPU.
        exported: the file, in the network's place.
        config: the run's settings.
        dataset: its validation images.
        limit: the most of them that are seen, evenly over the set.
        size: height and width that images are resized to; None: as in evaluation.
        tolerance: as for `partners`.
    """
    task = task_of(config.model)
    network = network.eval()
    evaluators = task.evaluator(dataset), task.evaluator(dataset)
    every, chosen = Partners(), even_indices(len(dataset), limit)
    with torch.inference_mode():
        for index in chosen:
            batch = batch_of(dataset, index, config, size)
            found, wanted = task.predict(exported, batch), task.predict(network, batch)
            every += partners(found[0], wanted[0], tolerance)
            for evaluator, predictions in zip(evaluators, (found, wanted), strict=True):
                evaluator.update(predictions, batch)
        every.require_few_alone(f"On {len(chosen)} validation images", tolerance)
        first = batch_of(dataset, chosen[0], config, size)
        seen = first["image"], first["sizes"]
        speed, pytorch_speed = images_per_second(partial(exported, *seen), partial(network, *seen))
    scores, pytorch_scores = (evaluator.result().metrics for evaluator in evaluators)
    return DetectionAgreement(
        images=len(chosen),
        images_of_the_set=len(dataset),
        metrics=scores,
        pytorch_metrics=pytorch_scores,
        images_per_second=speed,
        pytorch_images_per_second=pytorch_speed,
        threads=torch.get_num_threads(),
        partners=every,
    )


def batch_of(dataset: BoxDataset, index: int, config: Config, size: tuple[int, int] | None) -> BoxBatch:
    """Return an image as evaluation would see it alone; of another size, its truth stays in its own."""
    sample = dataset[index]
    if size is None:
        return dataset.evaluation(config.data).batch_of_one(sample, index)
    preparation: Any = dataset.evaluation(replace(config.data, eval_short_side=0))
    resized = preparation.batch_of_one({**sample, "image": v2.Resize(size)(sample["image"])}, index)
    resized["truth"] = preparation.batch_of_one(sample, index)["truth"]
    return cast(BoxBatch, resized)
