#!/usr/bin/env bash
# torchmetrics 1.9.0 and ignite 0.5.5: COCO's AP is another than pycocotools', by half a point here, also where torchmetrics has pycocotools compute it.
#
# Guess: torchmetrics' MeanAveragePrecision, with either backend, and ignite's CommonObjectDetectionMetrics give pycocotools' own numbers, to a millionth
# and to a thousandth.
# Seen: both make the 101 thresholds of recall in single precision, where 0.35 is a little more than 0.35. Where a recall is exactly a threshold (7 of
# 20 objects found), the precision counts that comes after. Of the same boxes AP is 62.7 % and 62.2 %, with 100 objects of a class; it differs where
# the number of objects has a divisor in common with 100. The same thresholds given as a list in double precision put torchmetrics right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 torchmetrics==1.9.0 pytorch-ignite==0.5.5 pycocotools==2.0.11 \
	faster-coco-eval==1.8.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import contextlib
import io

import numpy as np
import torch
from ignite.metrics.vision.object_detection_average_precision_recall import CommonObjectDetectionMetrics
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision


def scores(count):
    """AP of as many objects, an image each, found with errors: pycocotools', torchmetrics' with each backend and with other thresholds, ignite's."""
    random = np.random.default_rng(1)
    double = np.linspace(0, 1, 101).tolist()
    theirs = [MeanAveragePrecision(), MeanAveragePrecision(backend="faster_coco_eval"), MeanAveragePrecision(rec_thresholds=double)]
    ignite = CommonObjectDetectionMetrics(device=torch.device("cpu"))
    objects, found, pairs = [], [], []
    for image in range(count):
        box = np.array([50.0, 50.0, 100.0, 100.0])
        guess, score = box + 100 * random.normal(0, 0.06, 4), float(random.random())
        objects.append({"id": image + 1, "image_id": image, "category_id": 1, "bbox": box.tolist(), "area": 10000, "iscrowd": 0})
        found.append({"image_id": image, "category_id": 1, "bbox": guess.tolist(), "score": score})
        corners, guessed = (torch.tensor(np.array([[*each[:2], *each[:2] + each[2:]]])) for each in (box, guess))
        one, same, none = torch.ones(1).long(), torch.tensor([score], dtype=torch.float64), torch.zeros(1).long()
        predicted, truth = {"boxes": guessed, "labels": one, "scores": same}, {"boxes": corners, "labels": one}
        for each in theirs:
            each.update([predicted], [truth])
        pairs.append(({"bbox": guessed, "labels": one, "scores": same}, {"bbox": corners, "labels": one, "iscrowd": none}))
    ignite.update(([predicted for predicted, _ in pairs], [truth for _, truth in pairs]))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": [{"id": i} for i in range(count)], "annotations": objects, "categories": [{"id": 1}]}
        truth.createIndex()
        scored = COCOeval(truth, truth.loadRes(found), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return scored.stats[0], *(each.compute()["map"] for each in theirs), ignite.compute()["AP@50..95"]


for count in (20, 33, 50, 100):
    print(count, *(f"{100 * float(each):.2f}" for each in scores(count)))
PY
)
echo "$seen"
[ "$seen" = "20 70.37 70.46 70.46 70.37 70.46
33 67.60 67.60 67.60 67.60 67.60
50 65.22 65.01 65.01 65.22 65.01
100 62.68 62.22 62.22 62.68 62.22" ]
