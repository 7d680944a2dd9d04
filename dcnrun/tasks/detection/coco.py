"""COCO's average precision, through faster-coco-eval, and how detections match objects by its rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO
from faster_coco_eval.core.faster_eval_api import COCOeval_faster
from faster_coco_eval.core.mask import iou as coco_iou

from dcnrun.data.coco_masks import RunLengths, as_json
from dcnrun.scores import Confusion
from dcnrun.tasks.detection.scores import COCO_IOUS, NOTHING, mask_metric

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Shape = Literal["bbox", "segm"]
"""What of detections and objects overlaps, boxes or masks; by the names that COCO's tools have for it."""

MOST_DETECTIONS = 100
"""Of a class in an image; what scores less is not looked at."""

# The library ignores objects whose area is outside a range, and this is outside all of them. It takes no note of a flag.
_AREA_OF_IGNORED = -1.0
_SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class ImageResult:
    """m detections in one image and the n objects in it, as arrays; boxes are xyxy, from 0 and half-open."""

    name: str
    image_id: int
    size: tuple[int, int]
    """Height and width."""
    boxes: Floats
    scores: Floats
    labels: Ints
    object_boxes: Floats
    object_labels: Ints
    object_areas: Floats
    crowd: Bools
    difficult: Bools
    masks: Sequence[RunLengths] = ()
    """Of the detections, in pixels of the image; () of a network that finds boxes alone."""
    object_masks: Sequence[RunLengths] = ()
    """Of the objects, likewise."""


@dataclass(frozen=True)
class CocoScores:
    """`metrics` by name and `per_class` by metric and class; NaN where there is no object to find."""

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]


def coco_scores(
    results: Sequence[ImageResult],
    classes: Sequence[str],
    category_id: Callable[[int], int],
    shape: Shape = "bbox",
) -> CocoScores:
    """COCO's AP, at IoU 0.5 and 0.75, and of small (< 32^2 pixels), medium and large (> 96^2) objects.

    Of boxes it is `val/map`, `val/map_50` and so on; of masks `val/mask_map`, ....

    To find a difficult object is neither right nor wrong, once, as it is with objects of another size; to find it twice is
    wrong. Crowds can be found any number of times.
    """
    precision = _precision(results, classes, category_id, shape)
    name = {"bbox": "val/map", "segm": mask_metric("val/map")}[shape]
    metrics = {
        name: _mean(precision[..., 0]),
        f"{name}_50": _mean(precision[0, ..., 0]),
        f"{name}_75": _mean(precision[5, ..., 0]),  # of COCO_IOUS
        **{f"{name}_{size}": _mean(precision[..., area]) for area, size in enumerate(_SIZES, start=1)},
    }
    per_class = {
        name: {each: _mean(precision[:, :, k, 0]) for k, each in enumerate(classes)},
        f"{name}_50": {each: _mean(precision[0, :, k, 0]) for k, each in enumerate(classes)},
    }
    return CocoScores(metrics, per_class)


def coco_predictions(results: Sequence[ImageResult], category_id: Callable[[int], int]) -> list[dict[str, Any]]:
    """The detections as COCO's result format has them, with run lengths where they have masks."""
    return [
        {
            "image_id": result.image_id,
            "category_id": category_id(label),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            **({"segmentation": as_json(result.masks[i])} if result.masks else {}),
            "score": score,
        }
        for result in results
        for i, ((x1, y1, x2, y2), score, label) in enumerate(
            zip(result.boxes.tolist(), result.scores.tolist(), result.labels.tolist(), strict=True)
        )
    ]


def coco_match(result: ImageResult, found: Ints, there: Ints, shape: Shape = "bbox") -> tuple[Bools, Bools]:
    """Match detections `found` (D,) of a class, best first, with its objects `there` (G,): two (D, 10) arrays.

    Whether each matched an object, and whether it does not count, at each of COCO_IOUS. The library finds the same, and
    does not say. A detection takes the object that it overlaps most among those that are free, and one that is ignored
    only where no other is left; a crowd is always free. Detections after the hundredth don't count.
    """
    chosen = np.full((len(found), len(COCO_IOUS)), -1)
    beyond = np.broadcast_to(np.arange(len(found))[:, None] >= MOST_DETECTIONS, chosen.shape)
    if not len(there):
        return np.zeros(chosen.shape, np.bool_), beyond
    crowd = result.crowd[there]
    ignored = crowd | result.difficult[there]
    overlaps = _overlaps(result, found, there, shape)
    free = np.ones((len(COCO_IOUS), len(there)), np.bool_)
    for d in range(min(len(found), MOST_DETECTIONS)):
        near = overlaps[d] >= np.minimum(COCO_IOUS, 1 - 1e-10)[:, None]
        for choice in (near & free & ignored, near & free & ~ignored):
            best = _last_argmax(np.where(choice, overlaps[d], -1.0))
            chosen[d] = np.where(choice.any(axis=1), best, chosen[d])
        taken = np.flatnonzero(chosen[d] >= 0)
        free[taken, chosen[d, taken]] = crowd[chosen[d, taken]]
    return (chosen >= 0) & ~ignored[chosen], beyond | ((chosen >= 0) & ignored[chosen])


def coco_confusion(
    results: Sequence[ImageResult], classes: Sequence[str], score: float, iou: float, shape: Shape = "bbox"
) -> Confusion:
    """Count which objects were found as which class, among detections of at least a score; the last name stands for nothing.

    An object and a detection whose overlap is greater than `iou` belong together, those of one class first, then those that overlap most. Objects
    that are difficult or crowds don't count, nor does what finds nothing but them.
    """
    counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    for result in results:
        found = np.flatnonzero(result.scores >= score)
        ignored = result.crowd | result.difficult
        there, others = np.flatnonzero(~ignored), np.flatnonzero(ignored)
        labels, object_labels = result.labels[found], result.object_labels[there]
        as_found, as_there = np.full(len(there), len(classes)), np.full(len(found), len(classes))
        overlaps = _overlaps(result, found, there, shape)
        pairs = np.argwhere(overlaps > iou)
        same = labels[pairs[:, 0]] == object_labels[pairs[:, 1]]
        for d, g in pairs[np.lexsort((-overlaps[pairs[:, 0], pairs[:, 1]], ~same))]:
            if as_found[g] == as_there[d] == len(classes):
                as_found[g], as_there[d] = labels[d], object_labels[g]
        np.add.at(counts, (object_labels, as_found), 1)
        false = (as_there == len(classes)) & ~(_overlaps(result, found, others, shape) > iou).any(axis=1)
        np.add.at(counts, (len(classes), labels[false]), 1)
    return Confusion((*classes, NOTHING), counts, "objects")


def _overlaps(result: ImageResult, found: Ints, there: Ints, shape: Shape) -> Floats:
    """Intersection over union (D, G); with a crowd, over what was found."""
    is_crowd = result.crowd[there].astype(np.uint8).tolist()
    if shape == "bbox":
        overlaps = coco_iou(_xywh(result.boxes[found]), _xywh(result.object_boxes[there]), is_crowd)
    else:
        masks, object_masks = [result.masks[i] for i in found], [result.object_masks[i] for i in there]
        overlaps = coco_iou(masks, object_masks, is_crowd)
    return np.asarray(overlaps, np.float64).reshape(len(found), len(there))


def _precision(
    results: Sequence[ImageResult], classes: Sequence[str], category_id: Callable[[int], int], shape: Shape
) -> Floats:
    """Precision at (IoU, recall, class, area range); -1 where there is no object."""
    ids = [category_id(label) for label in range(len(classes))]
    truth = COCO(
        {
            "images": [
                {"id": result.image_id, "height": result.size[0], "width": result.size[1]} for result in results
            ],
            "categories": [{"id": i, "name": name} for i, name in zip(ids, classes, strict=True)],
            "annotations": _annotations(results, ids, shape),
        }
    )
    predictions = coco_predictions(results, category_id)
    if shape == "segm":  # the size of what is found is its mask's: with a box, the library would take that one's
        predictions = [{key: part for key, part in each.items() if key != "bbox"} for each in predictions]
    evaluation = COCOeval_faster(truth, truth.loadRes(predictions), shape)
    evaluation.params.maxDets = [1, 10, MOST_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[..., -1]
    return precision[:, :, np.argsort(np.argsort(ids))]  # the library's classes are in the order of their ids


def _annotations(results: Sequence[ImageResult], ids: Sequence[int], shape: Shape) -> list[dict[str, Any]]:
    objects = [(result, i) for result in results for i in range(len(result.object_labels))]
    return [
        {
            "id": number,
            "image_id": result.image_id,
            "category_id": ids[result.object_labels[i]],
            "bbox": _xywh(result.object_boxes[i]).tolist(),
            **({"segmentation": as_json(result.object_masks[i])} if shape == "segm" else {}),
            "area": _AREA_OF_IGNORED if result.difficult[i] else float(result.object_areas[i]),
            "iscrowd": int(result.crowd[i]),
        }
        for number, (result, i) in enumerate(objects, start=1)  # 0 would say that nothing matched
    ]


def _mean(precision: Floats) -> float:
    judged = precision[precision > -1]
    return float(judged.mean()) if judged.size else float("nan")


def _last_argmax(values: Floats) -> Ints:
    """The place of the largest value of each row, of equal ones the last."""
    last: Ints = values.shape[1] - 1 - values[:, ::-1].argmax(axis=1)
    return last


def _xywh(boxes: Floats) -> Floats:
    """Corner and size of xyxy `boxes` (..., 4)."""
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)
