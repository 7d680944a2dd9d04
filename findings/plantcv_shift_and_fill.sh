#!/usr/bin/env bash
# plantcv 4.11.3: shift_img moves an image by a pixel less than it is told, and fill removes objects of exactly its size with scikit-image 0.26, but not with 0.25.
#
# Guess: "number of rows or columns to add" is by how much an image or a mask moves, and fill removes "objects that are less than size", whatever the libraries below it.
# Seen: one is taken off the number first: 1 moves nothing, and a mask that is moved by 4 lies beside an image that is moved by 4 otherwise. fill passes its size on as `max_size` where scikit-image
# knows that, which removes what is as large, too: of objects of 24, 25 and 26 pixels fill(mask, 25) leaves one with 0.26 and two with 0.25. Neither says anything.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
seen=$(
    for scikit in 0.25.2 0.26.0; do
        python3 -m venv --clear "$folder/venv"
        "$folder/venv/bin/pip" install --quiet plantcv==4.11.3 numpy==2.4.6 scikit-image=="$scikit"
        "$folder/venv/bin/python" -W ignore - 2> /dev/null <<'PY'
import numpy as np
import skimage
from plantcv import plantcv

mask = np.zeros((30, 40), np.uint8)
mask[3:8, 4:9] = 255  # 25 pixels
mask[13:15, 4:16] = 255  # 24
mask[20:22, 4:17] = 255  # 26
moved = [int(np.nonzero(plantcv.shift_img(img=mask, number=number, side="left"))[1].min()) - 4 for number in (1, 4)]
print(skimage.__version__, "moved by 1 and 4:", moved, "left of 24, 25, 26:", np.count_nonzero(plantcv.fill(mask.copy(), 25)))
PY
    done
)
echo "$seen"
[ "$seen" = "0.25.2 moved by 1 and 4: [0, 3] left of 24, 25, 26: 51
0.26.0 moved by 1 and 4: [0, 3] left of 24, 25, 26: 26" ]
