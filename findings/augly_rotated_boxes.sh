#!/usr/bin/env bash
# augly 1.0.0: rotate puts boxes beside their objects, and overlay_onto_background_image does where image and background have other shapes.
#
# Guess: each image transform that takes bboxes moves them with the pixels, to 2 pixels. So it is with flips, crop, pad, scale, resize, change of aspect and skew.
# Seen: rotate, also by 90 degrees, where no pixel is computed anew, turns boxes as if y pointed up: an object above the middle of the image has its box as far below
# it, here 70 pixels away, and only objects in the middle keep theirs. On a background of another aspect ratio, a box is placed as if the image were as wide as that share of the
# background, and not as it is drawn. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6 iopath python-magic regex
"$folder/venv/bin/pip" install --quiet --no-deps augly==1.0.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import augly.image as augly
import numpy as np
from PIL import Image

box = (60, 10, 100, 40)
pixels = np.zeros((120, 200, 3), np.uint8)
pixels[box[1] : box[3], box[0] : box[2]] = 255
image = Image.fromarray(pixels)
for name, transform, settings in (
    ("hflip", augly.hflip, {}),
    ("crop", augly.crop, {"x1": 0.1, "y1": 0.0, "x2": 0.9, "y2": 0.9}),
    ("rotate 15", augly.rotate, {"degrees": 15}),
    ("rotate 90", augly.rotate, {"degrees": 90}),
    ("background", augly.overlay_onto_background_image, {"background_image": Image.new("RGB", (300, 300)), "overlay_size": 0.4, "x_pos": 0.1, "opacity": 1.0}),
):
    boxes, metadata = [box], []
    moved = transform(image, bboxes=boxes, bbox_format="pascal_voc", metadata=metadata, **settings)
    rows, columns = np.nonzero(np.array(moved.convert("L")) > 127)
    found = [int(each) for each in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
    print(name, "pixels", found, "box", [round(each) for each in metadata[0]["dst_bboxes"][0][:4]])
PY
)
echo "$seen"
[ "$seen" = "hflip pixels [100, 10, 140, 40] box [100, 10, 140, 40]
crop pixels [40, 10, 80, 40] box [40, 10, 80, 40]
rotate 15 pixels [43, 0, 89, 29] box [60, 57, 107, 75]
rotate 90 pixels [10, 100, 40, 140] box [80, 100, 110, 140]
background pixels [90, 130, 130, 160] box [66, 130, 90, 160]" ]
