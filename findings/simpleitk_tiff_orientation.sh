#!/usr/bin/env bash
# SimpleITK 2.5.7: a TIFF file that lies on its side is read mirrored instead of turned, and 16 bits of most turned files are cut to 8.
#
# Guess: as with JPEG and PNG the orientation is left alone, and the pixels are read as they are stored.
# Seen: with orientations 2 to 4 the picture is put upright. With 5 to 8, where rows become columns, one half of that is done: what is to be turned
# by 90 degrees is mirrored, and is neither what is stored nor what is meant. Where columns change places, a 16-bit picture is read as RGBA of 8 bits, the
# high bytes of its numbers; of that there is a warning on the standard error output.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7 pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import SimpleITK
import tifffile
from PIL import Image

stored = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)


def read(name):
    pixels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(name))
    return pixels[..., 0] if pixels.ndim == 3 else pixels


turned = Image.Exif()
turned[274] = 6
Image.fromarray(stored).save("picture.png", exif=turned)
print("PNG 6", read("picture.png").tolist())
for orientation, meant in ((3, stored[::-1, ::-1]), (6, np.rot90(stored, -1)), (8, np.rot90(stored))):
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite("picture.tif", stored, photometric="minisblack", extratags=tags)
    tifffile.imwrite("deep.tif", stored * np.uint16(1000), photometric="minisblack", extratags=tags)
    print("TIFF", orientation, "meant", meant.tolist(), "read", read("picture.tif").tolist(), "16 bits", read("deep.tif").tolist())
PY
)
echo "$seen"
[ "$seen" = "PNG 6 [[1, 2, 3], [4, 5, 6]]
TIFF 3 meant [[6, 5, 4], [3, 2, 1]] read [[6, 5, 4], [3, 2, 1]] 16 bits [[23, 19, 15], [11, 7, 3]]
TIFF 6 meant [[4, 1], [5, 2], [6, 3]] read [[3, 2, 1], [6, 5, 4]] 16 bits [[11, 7, 3], [23, 19, 15]]
TIFF 8 meant [[3, 6], [2, 5], [1, 4]] read [[4, 5, 6], [1, 2, 3]] 16 bits [[15, 19, 23], [3, 7, 11]]" ]
