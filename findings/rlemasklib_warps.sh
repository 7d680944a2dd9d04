#!/usr/bin/env bash
# rlemasklib 0.8.1: `warp_affine` and `warp_perspective` put a mask beside the image that is warped by the same matrix, and elsewhere at 44 degrees than at 46.
#
# Guess: as with OpenCV, after which its transforms are named, the middle of a disc is where the matrix takes it, to a fifth of a pixel of the mask before.
# Seen: moves by whole pixels, flips and quarter turns are exact. Where a matrix scales or turns, ends of runs are taken for corners of pixels in one direction and middles in the other, and which
# is which changes at 45 degrees: enlarged 4 times, a disc lies 1.5 pixels right of and below its place, turned by 44 degrees (1.4, 0.9), by 46 degrees (-0.9, 3.2) beside it. OpenCV's own masks are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rlemasklib==0.8.1 numpy==2.4.6 opencv-python-headless==5.0.0.93
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import cv2
import numpy as np
from rlemasklib import RLEMask

y, x = np.mgrid[:60, :60]
disc = ((y - 30) ** 2 + (x - 28) ** 2 <= 20**2).astype(np.uint8)


def beside(mask, matrix):
    """By how much the middle of a warped mask differs from the warped middle, x and y."""
    ys, xs = np.nonzero(mask)
    return [float(round(seen - wanted, 1) + 0) for seen, wanted in zip((xs.mean(), ys.mean()), matrix @ [28, 30, 1], strict=True)]


for scale, degrees in ((1, 180), (4, 0), (4, 44), (4, 46), (4, 136)):
    cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    matrix = np.array([[cos, -sin, 200 - 28 * cos + 30 * sin], [sin, cos, 200 - 28 * sin - 30 * cos]])
    affine = RLEMask.from_array(disc).warp_affine(matrix, (400, 400)).to_array()
    perspective = RLEMask.from_array(disc).warp_perspective(np.vstack([matrix, [0, 0, 1]]), (400, 400)).to_array()
    opencv = cv2.warpAffine(disc, matrix, (400, 400), flags=cv2.INTER_NEAREST)
    print(f"x {scale}, {degrees} degrees:", beside(affine, matrix), beside(perspective, matrix), "OpenCV", beside(opencv, matrix))
PY
)
echo "$seen"
[ "$seen" = "x 1, 180 degrees: [0.0, 0.0] [0.0, 0.0] OpenCV [0.0, 0.0]
x 4, 0 degrees: [1.5, 1.5] [1.5, 1.5] OpenCV [0.0, 0.0]
x 4, 44 degrees: [1.4, 0.9] [1.4, 0.9] OpenCV [0.0, 0.0]
x 4, 46 degrees: [-0.9, 3.2] [-0.9, 3.2] OpenCV [0.0, 0.0]
x 4, 136 degrees: [-3.2, -0.9] [-3.2, -0.9] OpenCV [0.0, 0.0]" ]
