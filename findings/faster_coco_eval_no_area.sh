#!/usr/bin/env bash
# faster-coco-eval 1.8.0: an object whose annotation has no `area` counts as a small one, whatever its box.
#
# Guess: where `area` is missing, it is computed from the box; or its absence is an error, as in pycocotools 2.0.11 (KeyError: 'area').
# Seen: it is taken as 0 without a word. An object of 200x200 pixels, found exactly, gives AP of small objects 1 and no AP of large
# ones (-1: none there). Exports of labelling tools often leave `area` out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 faster-coco-eval==1.8.0 pycocotools==2.0.11
cd "$folder"
seen=$(venv/bin/python - <<'PY'
import contextlib
import io

import faster_coco_eval
import pycocotools.coco
import pycocotools.cocoeval

BOX = [10, 10, 200, 200]
for name, load, evaluate in (
    ("pycocotools", pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
    ("faster-coco-eval", faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = load()
        truth.dataset = {
            "images": [{"id": 1, "width": 400, "height": 400}],
            "categories": [{"id": 1, "name": "tree"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX, "iscrowd": 0}],
        }
        truth.createIndex()
        found = truth.loadRes([{"image_id": 1, "category_id": 1, "bbox": BOX, "score": 0.9}])
        try:
            evaluation = evaluate(truth, found, "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            small, medium, large = (round(float(value), 3) for value in list(evaluation.stats)[3:6])
            line = f"{name}: small {small:g}, medium {medium:g}, large {large:g}"
        except KeyError as error:
            line = f"{name}: KeyError {error}"
    print(line)
PY
)
echo "$seen"
[ "$seen" = "pycocotools: KeyError 'area'
faster-coco-eval: small 1, medium -1, large -1" ]
