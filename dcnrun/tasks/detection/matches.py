"""Which detections of a data set matched objects, by every rule: what scores of any resample of its images rest on."""

from collections.abc import Sequence

import numpy as np

from dcnrun.tasks.detection.coco import coco_match
from dcnrun.tasks.detection.results import Bools, ImageResult, Ints
from dcnrun.tasks.detection.scores import COCO_IOUS, VOC_IOUS, MatchesPerImage
from dcnrun.tasks.detection.voc import voc_match


def match(results: Sequence[ImageResult], classes: Sequence[str]) -> MatchesPerImage:
    """Match all detections with the objects of their class; of equal scores, those of lower image ids are the better."""
    objects = np.zeros((len(results), len(classes)), np.int64)
    image, label, score = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    none = np.zeros((0, len(COCO_IOUS) + len(VOC_IOUS)), np.bool_)
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
            hits, uncounted = _by_every_rule(result, found, np.flatnonzero(result.object_labels == c))
            matched.append(hits)
            ignored.append(uncounted)
    return MatchesPerImage(
        [result.name for result in results],
        classes,
        objects,
        np.concatenate(image),
        np.concatenate(label),
        np.concatenate(score),
        np.concatenate(matched),
        np.concatenate(ignored),
    )


def _by_every_rule(result: ImageResult, found: Ints, there: Ints) -> tuple[Bools, Bools]:
    """Both arrays of `coco_match` and of `voc_match`, side by side."""
    coco, voc = coco_match(result, found, there), voc_match(result, found, there)
    return np.concatenate([coco[0], voc[0]], axis=1), np.concatenate([coco[1], voc[1]], axis=1)
