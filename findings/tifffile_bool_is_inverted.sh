#!/usr/bin/env bash
# tifffile 2026.3.3: Pillow 13.0.0 reads a mask of true and false that tifffile has written with the two exchanged.
#
# Guess: an array of booleans, written as a TIFF file, is the same array in every program that reads the file.
# Seen: tifffile stores true as 1 and says that 0 is white (PhotometricInterpretation 0), so that true is black. Pillow goes by the shades and
# gives true for false and the other way round; tifffile, and scikit-image with it, give what was written. Of an array of uint8 both give the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>/dev/null <<'PY'
import numpy as np
import tifffile
from PIL import Image

for kind in (np.bool_, np.uint8):
    tifffile.imwrite("mask.tif", np.array([[0, 1, 1]], kind))
    with Image.open("mask.tif") as mask:
        print(kind.__name__, tifffile.imread("mask.tif").astype(int).tolist(), np.array(mask).astype(int).tolist())
PY
)
echo "$seen"
[ "$seen" = "bool [[0, 1, 1]] [[1, 0, 0]]
uint8 [[0, 1, 1]] [[0, 1, 1]]" ]
