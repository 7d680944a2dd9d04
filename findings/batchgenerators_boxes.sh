#!/usr/bin/env bash
# batchgenerators 0.25.5: boxes made of masks begin a pixel too early, at -1 where an object touches the border.
#
# Guess: ConvertSegToBoundingBoxCoordinates makes of a square at rows 30 to 39 and columns 20 to 29 the box [30, 20, 40, 30] (or [30, 20, 39, 29]), as its y1, x1, y2, x2.
# Seen: [29, 19, 40, 30]: 1 is taken from the first row and column and added to the last, which encloses the object as corners from 0 on one side alone. A box of 10 x 10 pixels is
# 11 x 11 and its middle half a pixel off: IoU 0.83 with the true one, so that a detector which is right fails at COCO's thresholds from 0.85 on. Not clipped at the image's border either.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet batchgenerators==0.25.5 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from batchgenerators.transforms.utility_transforms import ConvertSegToBoundingBoxCoordinates

for top, left in ((30, 20), (0, 0), (54, 54)):
    mask = np.zeros((1, 1, 64, 64), np.int32)
    mask[..., top : top + 10, left : left + 10] = 1
    transform = ConvertSegToBoundingBoxCoordinates(dim=2, get_rois_from_seg_flag=True)
    made = transform(data=np.zeros(mask.shape), seg=mask, class_target=[0])
    print([top, left, top + 10, left + 10], made["bb_target"][0, 0].tolist())
PY
)
echo "$seen"
[ "$seen" = "[30, 20, 40, 30] [29, 19, 40, 30]
[0, 0, 10, 10] [-1, -1, 10, 10]
[54, 54, 64, 64] [53, 53, 64, 64]" ]
