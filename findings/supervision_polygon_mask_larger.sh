#!/usr/bin/env bash
# supervision 0.31.2: the mask of a polygon has a row and a column more than COCO's.
#
# Guess: a polygon with corners (10, 10) and (20, 20) covers 100 pixels, as pycocotools has it, and as the box of that size does.
# Seen: 121, as the pixels under the right and lower edge are filled too. So a data set that is read from YOLO's polygons and scored against
# COCO's masks of the same polygons doesn't reach an IoU of 1; small objects lose most (0.69 for this size of 5 pixels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet supervision==0.31.2 pycocotools==2.0.11 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>/dev/null <<'PY'
import numpy as np
from pycocotools import mask as coco
from supervision import polygon_to_mask

for side in (10, 5):
    corners = np.array([[10, 10], [10 + side, 10], [10 + side, 10 + side], [10, 10 + side]])
    filled = polygon_to_mask(corners, (64, 48)) > 0
    of_coco = coco.decode(coco.frPyObjects([corners.ravel().tolist()], 48, 64))[..., 0] > 0
    print(filled.sum(), of_coco.sum(), round((filled & of_coco).sum() / (filled | of_coco).sum(), 2))
PY
)
echo "$seen"
[ "$seen" = "121 100 0.83
36 25 0.69" ]
