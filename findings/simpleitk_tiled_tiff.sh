#!/usr/bin/env bash
# SimpleITK 2.5.7: a TIFF file in tiles, or with a plane for each colour, is read as RGBA of 8 bits; of 16 bits the high byte is left.
#
# Guess: tiles and planes are how a file is laid out: the numbers, their type and the bands are those that were written, as Pillow, rasterio, OpenCV and libvips read them.
# Seen: a grey file of 8 bits becomes four bands, three of them equal and one of 255; numbers of 16 bits are divided by 256, so that object numbers and measured values are lost. Tiles are what
# remote sensing and microscopes write. There is one line of warning on the standard error output.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7 tifffile==2026.3.3 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import SimpleITK
import tifffile

grey = (np.arange(32 * 32) % 250).astype(np.uint8).reshape(32, 32)
grey[0, :4] = 1, 2, 100, 200
colours = np.stack([grey, grey // 2, grey // 4])
for name, pixels, settings in (
    ("8 bits", grey, {}),
    ("8 bits, tiles", grey, {"tile": (16, 16)}),
    ("16 bits", grey * np.uint16(200), {}),
    ("16 bits, tiles", grey * np.uint16(200), {"tile": (16, 16)}),
    ("colours, planes", colours, {"photometric": "rgb", "planarconfig": "separate"}),
):
    tifffile.imwrite("picture.tif", pixels, **({"photometric": "minisblack"} | settings))
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("picture.tif"))
    print(f"{name}: written {pixels.dtype} {pixels[..., 0, :4].tolist()}, read {read.dtype} {read[0, :4].tolist()}")
PY
)
echo "$seen"
[ "$seen" = "8 bits: written uint8 [1, 2, 100, 200], read uint8 [1, 2, 100, 200]
8 bits, tiles: written uint8 [1, 2, 100, 200], read uint8 [[1, 1, 1, 255], [2, 2, 2, 255], [100, 100, 100, 255], [200, 200, 200, 255]]
16 bits: written uint16 [200, 400, 20000, 40000], read uint16 [200, 400, 20000, 40000]
16 bits, tiles: written uint16 [200, 400, 20000, 40000], read uint8 [[0, 0, 0, 255], [1, 1, 1, 255], [78, 78, 78, 255], [156, 156, 156, 255]]
colours, planes: written uint8 [[1, 2, 100, 200], [0, 1, 50, 100], [0, 0, 25, 50]], read uint8 [[1, 0, 0, 255], [2, 1, 0, 255], [100, 50, 25, 255], [200, 100, 50, 255]]" ]
