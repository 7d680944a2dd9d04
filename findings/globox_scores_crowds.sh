#!/usr/bin/env bash
# globox 2.9.0: its COCO evaluation takes crowds for objects, and so has another AP than pycocotools.
#
# Guess: globox's COCOEvaluator, "COCO" by its name and its twelve numbers, gives pycocotools' AP to a thousandth, crowds included.
# Seen: without crowds AP agrees. `iscrowd` is not kept when a file is read: a crowd that nothing was found in is a missed object, and what was
# found within one is a false alarm. A set converted from COCO to COCO has none left. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet globox==2.9.0 pycocotools==2.0.11 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>&1 <<'PY'
import contextlib
import io
import json

from globox import AnnotationSet, COCOEvaluator
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

found = [  # one person, and two of a group
    {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 60], "score": 0.9},
    {"image_id": 1, "category_id": 1, "bbox": [100, 10, 20, 60], "score": 0.95},
    {"image_id": 1, "category_id": 1, "bbox": [130, 10, 20, 60], "score": 0.8},
]
with open("found.json", "w") as file:
    json.dump(found, file)
for title, regions in (("no crowd", []), ("a crowd", [{"bbox": [90, 5, 90, 70], "area": 6300, "iscrowd": 1}])):
    objects = [{"bbox": [10, 10, 40, 60], "area": 2400, "iscrowd": 0}, *regions]
    document = {
        "images": [{"id": 1, "width": 200, "height": 100, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [each | {"id": number, "image_id": 1, "category_id": 1} for number, each in enumerate(objects, 1)],
    }
    with open("truth.json", "w") as file:
        json.dump(document, file)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO("truth.json")
        evaluation = COCOeval(truth, truth.loadRes("found.json"), iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    boxes = AnnotationSet.from_coco("truth.json")
    evaluator = COCOEvaluator(ground_truths=boxes, predictions=boxes.from_results("found.json"))
    boxes.save_coco("again.json", auto_ids=True)
    with open("again.json") as file:
        crowds = [each["iscrowd"] for each in json.load(file)["annotations"]]
    print(f"{title}: pycocotools {evaluation.stats[0]:.3f}, globox {evaluator.ap():.3f}, written again {crowds}")
PY
)
echo "$seen"
[ "$seen" = "no crowd: pycocotools 0.500, globox 0.500, written again [0]
a crowd: pycocotools 1.000, globox 0.252, written again [0, 0]" ]
