"""What iscrowd=1 means in a COCO file: a crowd, as COCO has them, or an object as any other.

Tools write iscrowd=1 for every mask that they store as run lengths, since pycocotools expects run lengths of crowds alone. In
COCO's own files crowds are few, and one to an image and class: it holds all that is left of the class there.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from dcnrun.data.coco_json import AnyAnnotation, has_mask, has_run_lengths, is_marked
from dcnrun.data.coco_masks import RunLengths

LEAST_COVERED = 2
"""An object with iscrowd=1 is a crowd all the same where it covers at least so many others of its class."""
_COVERED = 0.5
"""Share of an object's pixels from which another covers it."""


def mark_objects(annotations: Sequence[AnyAnnotation]) -> bool | None:
    """Whether iscrowd=1 is how a tool marks masks of run lengths; None if no annotation has it.

    It is where all annotations have it, and a mask; or where it is on just those with run lengths, and these are most of all that have
    a mask, or most of them share their image and class with another.
    """
    marked = [entry for entry in annotations if _is_marked(entry)]
    if not marked:
        return None
    masked = [entry for entry in annotations if has_mask(entry)]
    if len(marked) == len(annotations) == len(masked):
        return True
    if not all(map(has_run_lengths, marked)) or sum(map(has_run_lengths, masked)) > len(marked):
        return False
    places = Counter((repr(entry.image_id), repr(entry.category_id)) for entry in marked)
    alone = sum(count == 1 for count in places.values())
    return 2 * len(marked) > len(masked) or 2 * alone < len(marked)


def _is_marked(entry: AnyAnnotation) -> bool:
    try:
        return is_marked(entry)
    except ValueError:  # is said where its object is read
        return False


def cover_many(
    boxes: NDArray[np.float64], mask: Callable[[int], RunLengths | None], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return which of an image's objects of a class, with these boxes (n, 4), xyxy, cover several others: those are crowds.

    `mask` gives the mask of one; an object without any is all of its box.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    shared = np.clip(np.minimum(high[:, None], high) - np.maximum(low[:, None], low), 0, None).prod(-1)
    near = shared >= _COVERED * (high - low).prod(-1)
    crowds = np.zeros(len(boxes), np.bool_)
    for number in np.flatnonzero(near.sum(1) > LEAST_COVERED):  # it is near itself too
        others = [other for other in np.flatnonzero(near[number]) if other != number]
        whole = [mask(int(each)) or _of_box(boxes[each], size) for each in [number, *others]]
        covered = coco_mask.iou(whole[1:], whole[:1], [1])  # of the others' pixels
        crowds[number] = (covered >= _COVERED).sum() >= LEAST_COVERED
    return crowds


def _of_box(box: NDArray[np.float64], size: tuple[int, int]) -> RunLengths:
    x1, y1, x2, y2 = box.tolist()
    (encoded,) = coco_mask.frPyObjects([[x1, y1, x2 - x1, y2 - y1]], *size)
    return dict(encoded)
