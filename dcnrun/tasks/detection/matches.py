"""Which detections of a data set matched objects, by every rule: what scores of any resample of its images rest on."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from dcnrun.scores import Confusion
from dcnrun.tasks.detection.coco import Bools, Floats, ImageResult, Ints, coco_match
from dcnrun.tasks.detection.scores import VOC_IOUS, MatchesPerImage

MatchesT = TypeVar("MatchesT", bound=MatchesPerImage)

Matching = Callable[[ImageResult, Ints, Ints], tuple[Bools, Bools]]
"""Matches detections of a class, best first, with its objects, as `coco_match` does."""


def match(
    results: Sequence[ImageResult], classes: Sequence[str], confusion: Confusion | None = None
) -> MatchesPerImage:
    """Match the boxes of all detections with those of the objects of their class."""
    return match_by((coco_match, voc_match), MatchesPerImage, results, classes, confusion)


def match_by(
    matchings: Sequence[Matching],
    kind: type[MatchesT],
    results: Sequence[ImageResult],
    classes: Sequence[str],
    confusion: Confusion | None = None,
) -> MatchesT:
    """Match all detections with the objects of their class; of equal scores, those of lower image ids are the better.

    Args:
        matchings: what gives the columns of the result, side by side.
        kind: the class of the result.
        results: what was found and is there in each image.
        classes: the names of the classes.
        confusion: what was taken for what in all images, which the result keeps.
    """
    objects = np.zeros((len(results), len(classes)), np.int64)
    image, label, score = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    none = np.zeros((0, kind.columns), np.bool_)
    matched, ignored = [none], [none]
    for place in sorted(range(len(results)), key=lambda place: results[place].image_id):
        result = results[place]
        counted = result.object_labels[~(result.crowd | result.difficult)]
        objects[place] = np.bincount(counted, minlength=len(classes))
        for c in np.unique(result.labels):
            found = np.flatnonzero(result.labels == c)
            found = found[np.argsort(-result.scores[found], kind="stable")]
            image.append(np.full(len(found), place))
            label.append(result.labels[found])
            score.append(result.scores[found])
            there = np.flatnonzero(result.object_labels == c)
            hits, uncounted = zip(*(matching(result, found, there) for matching in matchings), strict=True)
            matched.append(np.concatenate(hits, axis=1))
            ignored.append(np.concatenate(uncounted, axis=1))
    return kind(
        [result.name for result in results],
        classes,
        objects,
        np.concatenate(image),
        np.concatenate(label),
        np.concatenate(score),
        np.concatenate(matched),
        np.concatenate(ignored),
        None if confusion is None else confusion.counts,
    )


def voc_match(result: ImageResult, found: Ints, there: Ints) -> tuple[Bools, Bools]:
    """Match detections `found` (D,) of a class, best first, with its objects `there` (G,), as VOC's development kit does.

    Returns two (D, 2) arrays: whether each matched an object, and whether it does not count, at each of VOC_IOUS (VOCevaldet.m).

    Each detection, from the highest score down, goes to the object of its class that it overlaps most. Where that overlap is
    at least the threshold, it is right if it is the first there, wrong if not, and neither if the object is difficult. Unlike
    COCO's rule, no second choice is made. Boxes are from 0 and half-open here and from 1 and inclusive in the kit, which adds
    1 to every difference of coordinates: the overlaps are the same. A crowd, which the kit does not know, is as a difficult
    object.
    """
    matched = np.zeros((len(found), len(VOC_IOUS)), np.bool_)
    if not len(there):
        return matched, matched.copy()
    overlaps = box_overlaps(result.boxes[found], result.object_boxes[there])
    nearest = overlaps.argmax(axis=1)  # of equal ones the first, as in the kit
    near = overlaps.max(axis=1)[:, None] >= VOC_IOUS
    ignored = near & (result.crowd | result.difficult)[there][nearest][:, None]
    for column, is_near in enumerate(near.T):
        candidates = np.flatnonzero(is_near)
        _, first = np.unique(nearest[candidates], return_index=True)
        matched[candidates[first], column] = True
    return matched & ~ignored, ignored


def box_overlaps(boxes: Floats, objects: Floats) -> Floats:
    """Intersection over union (D, G) of boxes (D, 4) and objects (G, 4)."""
    low = np.maximum(boxes[:, None, :2], objects[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], objects[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=-1)
    union = _area(boxes)[:, None] + _area(objects)[None] - shared
    overlaps: Floats = shared / np.maximum(union, np.finfo(np.float64).tiny)
    return overlaps


def _area(boxes: Floats) -> Floats:
    area: Floats = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    return area
