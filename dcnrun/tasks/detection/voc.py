"""How detections match objects in the Pascal VOC development kit (VOCevaldet.m).

Each detection, from the highest score down, goes to the object of its class that it overlaps most. Where that overlap is
at least the threshold, it is right if it is the first there, wrong if not, and neither if the object is difficult. Unlike
COCO's rule, no second choice is made. Boxes are from 0 and half-open here and from 1 and inclusive in the kit, which adds
1 to every difference of coordinates: the overlaps are the same. A crowd, which the kit does not know, is as a difficult
object.
"""

import numpy as np

from dcnrun.tasks.detection.results import Bools, Floats, ImageResult, Ints
from dcnrun.tasks.detection.scores import VOC_IOUS


def voc_match(result: ImageResult, found: Ints, there: Ints) -> tuple[Bools, Bools]:
    """Match detections `found` (D,) of a class, best first, with its objects `there` (G,): two (D, 2) arrays.

    Whether each matched an object, and whether it does not count, at each of VOC_IOUS.
    """
    matched = np.zeros((len(found), len(VOC_IOUS)), np.bool_)
    if not len(there):
        return matched, matched.copy()
    overlaps = _overlaps(result.boxes[found], result.object_boxes[there])
    nearest = overlaps.argmax(axis=1)  # of equal ones the first, as in the kit
    near = overlaps.max(axis=1)[:, None] >= VOC_IOUS
    ignored = near & (result.crowd | result.difficult)[there][nearest][:, None]
    for column, is_near in enumerate(near.T):
        candidates = np.flatnonzero(is_near)
        _, first = np.unique(nearest[candidates], return_index=True)
        matched[candidates[first], column] = True
    return matched & ~ignored, ignored


def _overlaps(boxes: Floats, objects: Floats) -> Floats:
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
