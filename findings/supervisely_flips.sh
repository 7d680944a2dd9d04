#!/usr/bin/env bash
# supervisely 6.74.51: flipped and resized, rectangles and polygons lie beside the image; bitmaps, and everything that is turned by 90 degrees or cropped, stay on it.
#
# Guess: after sly.aug's flips and resizing an object drawn as a bitmap, a rectangle or a polygon covers the pixels that it covered before.
# Seen: a flip takes x to width - x, where the middle of a pixel goes to width - 1 - x: the object lies a pixel further right, or below, and partly outside the image if it began at its border.
# Resizing moves the last row and column to where their first pixel goes: at twice the size an object lacks a row and a column.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet supervisely==6.74.51 numpy==2.2.6 scikit-image==0.26.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import supervisely as sly

height, width = 40, 50
pixels = np.zeros((height, width), bool)
pixels[10:14, 30:34] = True
image = np.repeat(pixels[:, :, None], 3, 2).astype(np.uint8) * 255
corners = [sly.PointLocation(row, column) for row, column in ((10, 30), (10, 33), (13, 33), (13, 30))]


def ends(mask):
    """First and last row and column of what is seen."""
    rows, columns = np.nonzero(mask)
    return [int(end) for end in (rows.min(), rows.max(), columns.min(), columns.max())]


moves = {
    "fliplr": sly.aug.fliplr,
    "flipud": sly.aug.flipud,
    "rotate": lambda image, annotation: sly.aug.rotate(image, annotation, 180),
    "resize": lambda image, annotation: sly.aug.resize(image, annotation, (2 * height, 2 * width)),
}
for name, move in moves.items():
    seen = []
    for shape in (sly.Bitmap(pixels), sly.Rectangle(10, 30, 13, 33), sly.Polygon(corners)):
        annotation = sly.Annotation((height, width), [sly.Label(shape, sly.ObjClass("cell", type(shape)))])
        moved, annotation = move(image, annotation)
        seen += [type(shape).__name__, ends(annotation.labels[0].geometry.get_mask(moved.shape[:2]))]
    print(name, "image", ends(moved[:, :, 0] > 127), *seen)
PY
)
echo "$seen"
[ "$seen" = "fliplr image [10, 13, 16, 19] Bitmap [10, 13, 16, 19] Rectangle [10, 13, 17, 20] Polygon [10, 13, 17, 20]
flipud image [26, 29, 30, 33] Bitmap [26, 29, 30, 33] Rectangle [27, 30, 30, 33] Polygon [27, 30, 30, 33]
rotate image [26, 29, 16, 19] Bitmap [26, 29, 16, 19] Rectangle [26, 29, 16, 19] Polygon [26, 29, 16, 19]
resize image [20, 27, 60, 67] Bitmap [20, 27, 60, 67] Rectangle [20, 26, 60, 66] Polygon [20, 26, 60, 66]" ]
