#!/usr/bin/env bash
# OpenCV 5.0.0: IMREAD_UNCHANGED leaves a picture as it is stored, unless it is a TIFF file: that is turned by its orientation.
#
# Guess: IMREAD_COLOR and IMREAD_GRAYSCALE put a picture upright, IMREAD_UNCHANGED never does, whatever the format.
# Seen: so it is with JPEG, PNG and WebP. A TIFF file is put upright with every flag, also with IMREAD_IGNORE_ORIENTATION. So an image and its mask that carry the same
# orientation, read as masks are (unchanged), no longer lie on each other where one is a PNG file and the other TIFF.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import cv2
import numpy as np
from PIL import Image

stored = np.arange(0, 240, 5, np.uint8).reshape(6, 8)
turned = Image.Exif()
turned[274] = 3
for kind in ("jpg", "png", "webp", "tif"):
    Image.fromarray(stored).save(f"picture.{kind}", exif=turned, lossless=True, quality=100)
    told = []
    for flag in ("IMREAD_COLOR", "IMREAD_GRAYSCALE", "IMREAD_UNCHANGED", "IMREAD_IGNORE_ORIENTATION"):
        pixels = cv2.imread(f"picture.{kind}", getattr(cv2, flag))
        pixels = (pixels[..., 0] if pixels.ndim == 3 else pixels).astype(int)
        told += ["stored" if abs(pixels - stored).max() < 20 else "turned" if abs(pixels - stored[::-1, ::-1]).max() < 20 else "else"]
    print(kind, *told)
PY
)
echo "$seen"
[ "$seen" = "jpg turned turned stored stored
png turned turned stored stored
webp turned turned stored stored
tif turned turned turned turned" ]
