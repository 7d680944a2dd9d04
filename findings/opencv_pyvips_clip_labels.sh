#!/usr/bin/env bash
# OpenCV 5.0.0, pyvips 3.2.0 (libvips 8.18.7): an image of object numbers beyond 255 written as PNG has 255 for all of these, from pyvips even if the array has 16 bits.
#
# Guess: a PNG file holds 16 bits, so numbers up to 65535 are kept, whatever integer type the array has, or the writer refuses them.
# Seen: OpenCV keeps uint16 alone: int32 and int64, the types that labelling functions return, int16 and floats are clipped to 8 bits. pyvips takes an array (H, W) of uint16 for one that is
# to be shown in 8 bits and clips it too, unless it is told interpretation="grey16". OpenCV prints a line of it, pyvips none: several objects become one, or
# are ignored where 255 stands for that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pyvips==3.2.0 pyvips-binary==8.18.7 pillow==13.0.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import cv2
import numpy as np
import pyvips
from PIL import Image

numbers = [[1, 255, 256, 300, 1000]]


def written(name):
    with Image.open(name) as picture:
        return np.array(picture).tolist()[0]


for dtype in ("uint16", "int16", "int32", "int64", "float32"):
    array = np.array(numbers, dtype)
    name = f"{dtype}.png"
    cv2.imwrite(name, array)
    told = [written(name)]
    for how in ({}, {"interpretation": "grey16"}) if dtype == "uint16" else ({},):
        try:
            pyvips.Image.new_from_array(array, **how).write_to_file(name)
        except (KeyError, ValueError) as error:  # it has no such type
            told.append(type(error).__name__)
        else:
            told.append(written(name))
    print(dtype, "OpenCV", told[0], "pyvips", *told[1:])
PY
)
echo "$seen"
[ "$seen" = "uint16 OpenCV [1, 255, 256, 300, 1000] pyvips [1, 255, 255, 255, 255] [1, 255, 256, 300, 1000]
int16 OpenCV [1, 255, 255, 255, 255] pyvips [1, 255, 255, 255, 255]
int32 OpenCV [1, 255, 255, 255, 255] pyvips [1, 255, 255, 255, 255]
int64 OpenCV [1, 255, 255, 255, 255] pyvips ValueError
float32 OpenCV [1, 255, 255, 255, 255] pyvips [1, 255, 255, 255, 255]" ]
