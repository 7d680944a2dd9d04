#!/usr/bin/env bash
# torchmetrics 1.9.0: an object in whose place the prediction says an unknown category isn't missed for PanopticQuality: who finds one of three and knows nothing of the others has quality 1.
#
# Guess: with allow_unknown_preds_category, which has "unknown categories in the predictions ... ignored", such pixels belong to no segment that is found, as in the paper and COCO's panopticapi: an
# object with nothing else in its place is a false negative, and the quality of three objects of which one is found is 0.5.
# Seen: they are taken out of the object in the truth, too: an object that lies in them by more than half counts as nothing, and of one that is found in part the rest is not missed.
# Without unknown categories in the predictions the quality is the paper's, unlabelled pixels of the truth included.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchmetrics==1.9.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import torch
from torchmetrics.detection import PanopticQuality

truth = np.zeros((1, 20, 20, 2), np.int64)
truth[..., 0] = 6
for number, row in enumerate((1, 8, 14)):
    truth[0, row : row + 5, 2:12] = 1, number
whole = {"things": {1}, "stuffs": {6}, "allow_unknown_preds_category": True, "return_per_class": True}


def quality(found):
    metric = PanopticQuality(**whole)
    metric.update(torch.from_numpy(found), torch.from_numpy(truth))
    return [round(float(value), 3) for value in metric.compute().flatten()]


for name, rows, value in (
    ("two of three are background", 20, (6, 0)),
    ("two of three are unknown", 20, (9, 0)),
    ("two are unknown but for a row", 4, (9, 0)),
):
    found = truth.copy()
    for row in (8, 14):
        found[0, row : row + min(5, rows), 2:12] = value
    print(f"{name}: {quality(found)}")
PY
)
echo "$seen"
[ "$seen" = "two of three are background: [0.5, 0.714]
two of three are unknown: [1.0, 1.0]
two are unknown but for a row: [1.0, 1.0]" ]
