#!/usr/bin/env bash
# Pillow 13.0.0: an uncompressed TIFF file that lies on its side (orientation 5 to 8) is read with its pixels mixed up, if it is opened by its path.
#
# Guess: the pixels as they are stored, and the orientation for who asks, as with JPEG, PNG and WebP.
# Seen: of TIFF alone Pillow itself turns the picture as it is loaded. By orientation 2 to 4, if it is compressed, or from an open file, that is right. From a
# path Pillow maps grey, index colour, RGBA, CMYK and 16 bits into memory, with rows as long as those of the turned picture: neither what was stored
# nor what was meant, in an array of the stored shape. No warning; RGB is read another way and is right, so that images are and masks aren't.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from PIL import Image

mask = Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
right = np.rot90(np.array(mask), -1)
print("right:", right.tolist())
for mode, compression in (("L", None), ("P", None), ("I;16", None), ("RGB", None), ("L", "tiff_lzw")):
    mask.convert(mode).save("mask.tif", exif={274: 6}, compression=compression)
    for how in ("path", "file"):
        with open("mask.tif", "rb") as file, Image.open("mask.tif" if how == "path" else file) as picture:
            pixels = np.array(picture)
        print(mode, compression, how, "right" if np.array_equal(pixels[..., 0] if mode == "RGB" else pixels, right) else pixels.tolist())
PY
)
echo "$seen"
[ "$seen" = "right: [[4, 1], [5, 2], [6, 3]]
L None path [[5, 3, 1], [6, 4, 2]]
L None file right
P None path [[5, 3, 1], [6, 4, 2]]
P None file right
I;16 None path [[5, 3, 1], [6, 4, 2]]
I;16 None file right
RGB None path right
RGB None file right
L tiff_lzw path right
L tiff_lzw file right" ]
