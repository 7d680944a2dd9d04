#!/usr/bin/env bash
# deepforest 2.1.0: a detection that encloses others takes their objects from them: recall and precision of a network that finds every tree are 0 with two such boxes beside.
#
# Guess: evaluate_boxes pairs detections with objects by IoU, which iou_threshold is compared with: a further, false box lowers precision and never recall.
# Seen: pairs are those with the largest sum of intersections, whatever the union. A box around the whole image intersects each object by all of it, more than one that is found with IoU 0.9: it is
# paired with an object, has an IoU of 0.03 with it, and the object counts as missed. Scores of detections have no say, and
# with two such boxes it prints that no predictions were made.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet deepforest==2.1.0 torch==2.14.1 numpy==2.4.6 pandas==3.1.1 geopandas==1.2.0 shapely==2.2.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import pandas as pd
from deepforest.evaluate import evaluate_boxes


def table(*boxes, **columns):
    return pd.DataFrame(boxes, columns=["xmin", "ymin", "xmax", "ymax"]).assign(label="Tree", image_path="a.png", **columns)


trees = table((10, 10, 20, 20), (40, 40, 50, 50))
found = table((11, 10, 20, 20), (41, 40, 50, 50), score=0.9)
for number in range(3):
    around = table(*[(0, 0, 60 + n, 60 + n) for n in range(number)], score=0.1)
    scores = evaluate_boxes(pd.concat([found, around], ignore_index=True), trees, iou_threshold=0.4)
    print(number, "around all: recall", scores["box_recall"], "precision", round(scores["box_precision"], 3))
PY
)
echo "$seen"
[ "$seen" = "0 around all: recall 1.0 precision 1.0
1 around all: recall 0.5 precision 0.333
No predictions made
2 around all: recall 0.0 precision 0.0" ]
