"""The scores of the Pascal VOC development kit, in loops, from its VOCevaldet.m and VOCap.m."""

import numpy as np


def inclusive(box):
    """The kit's coordinates: from 1, the last pixel included."""
    x1, y1, x2, y2 = box
    return x1 + 1, y1 + 1, x2, y2


def curve_of_the_kit(images, label, least):
    """VOCevaldet.m, line by line: recall and precision, and the number of objects."""
    truth, number = {}, 0
    for image in images:
        own = [i for i in range(len(image.object_labels)) if image.object_labels[i] == label]
        difficult = [bool(image.difficult[i] or image.crowd[i]) for i in own]
        boxes = [inclusive(image.object_boxes[i]) for i in own]
        truth[image.image_id] = {"boxes": boxes, "difficult": difficult, "found": [False] * len(own)}
        number += difficult.count(False)
    detections = [
        (image.scores[i], image.image_id, inclusive(image.boxes[i]))
        for image in sorted(images, key=lambda image: image.image_id)  # of equal scores, the order is open in the kit
        for i in range(len(image.labels))
        if image.labels[i] == label
    ]
    detections.sort(key=lambda detection: -detection[0])
    right, wrong = np.zeros(len(detections)), np.zeros(len(detections))
    for d, (_, image_id, bb) in enumerate(detections):
        there, most, which = truth[image_id], -np.inf, None
        for j, bbgt in enumerate(there["boxes"]):
            bi = max(bb[0], bbgt[0]), max(bb[1], bbgt[1]), min(bb[2], bbgt[2]), min(bb[3], bbgt[3])
            iw, ih = bi[2] - bi[0] + 1, bi[3] - bi[1] + 1
            if iw > 0 and ih > 0:
                ua = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1)
                ua += (bbgt[2] - bbgt[0] + 1) * (bbgt[3] - bbgt[1] + 1) - iw * ih
                if iw * ih / ua > most:
                    most, which = iw * ih / ua, j
        if most >= least:
            if not there["difficult"][which]:
                if not there["found"][which]:
                    right[d], there["found"][which] = 1, True
                else:
                    wrong[d] = 1
        else:
            wrong[d] = 1
    tp, fp = np.cumsum(right), np.cumsum(wrong)
    with np.errstate(invalid="ignore"):
        return tp / number if number else None, tp / (fp + tp)


def ap_of_2007(recall, precision):
    total = 0.0
    for t in range(11):
        enough = [p for r, p in zip(recall, precision, strict=True) if r >= t / 10 and not np.isnan(p)]
        total += max(enough, default=0.0) / 11
    return total


def ap_of_2012(recall, precision):
    """VOCap.m."""
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *np.nan_to_num(precision), 0.0]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    return sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)) if mrec[i] != mrec[i - 1])


def kit_scores(images, classes):
    scores = {}
    for name, least in (("50", 0.5), ("70", 0.7)):
        curves = [curve_of_the_kit(images, label, least) for label in range(classes)]
        curves = [curve for curve in curves if curve[0] is not None]
        for year, average in (("07", ap_of_2007), ("12", ap_of_2012)):
            scores[f"val/voc{year}_{name}"] = np.mean([average(*curve) for curve in curves]) if curves else np.nan
    return scores
