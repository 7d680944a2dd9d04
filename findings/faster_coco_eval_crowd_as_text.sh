#!/usr/bin/env bash
# faster-coco-eval 1.8.0 and pycocotools 2.0.11: an annotation file with "iscrowd": "0" has another score in each.
#
# Guess: both take the text for true, as Python does, so the only object is a crowd and there is nothing to score (-1).
# Seen: pycocotools does so and gives -1; faster-coco-eval takes the object for no crowd and gives 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet faster-coco-eval==1.8.0 pycocotools==2.0.11 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>/dev/null <<'PY'
import contextlib
import io
import json

import faster_coco_eval
import pycocotools.coco
import pycocotools.cocoeval

box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 15], "area": 300}
for crowd in (0, "0"):
    document = {
        "images": [{"id": 1, "width": 64, "height": 48, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [box | {"iscrowd": crowd}],
    }
    with open("truth.json", "w") as file:
        json.dump(document, file)
    for coco, evaluator in (
        (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
        (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
    ):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = coco("truth.json")
            evaluation = evaluator(truth, truth.loadRes([box | {"score": 0.9}]), iouType="bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        print(repr(crowd), evaluator.__name__, round(float(evaluation.stats[0]), 3))
PY
)
echo "$seen"
[ "$seen" = "0 COCOeval 1.0
0 COCOeval_faster 1.0
'0' COCOeval -1.0
'0' COCOeval_faster 1.0" ]
