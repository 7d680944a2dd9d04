#!/usr/bin/env bash
# powerboxes 0.3.1: 1 - DIoU and 1 - CIoU are 1 for boxes that don't overlap, however far apart they are, and IoU of boxes in int16 overflows from 182 pixels on.
#
# Guess: diou_distance and ciou_distance are 1 - DIoU and 1 - CIoU of the papers they name (Zheng et al. 2020), and boxes in whole numbers, which the library lists as supported, give what
# the same boxes give in floats, or are refused.
# Seen: to tell how far apart boxes are is what both measures were made for, and of boxes that overlap 1 - DIoU is up to tens, where 2 is the most. Areas are computed in the type of the
# coordinates: in int16 and uint16, as in uint8, products wrap around, so that a box and its half have a distance of 1.84 or 0.46. A square turned by 60 degrees is 0.09 away from itself: sides
# that boxes share are found or missed by rounding. No warning. int32, floats, nms, and IoU of turned boxes that share no side are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 powerboxes==0.3.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import powerboxes


def right(a, b):
    """1 - IoU, 1 - DIoU and 1 - CIoU by their definitions."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.prod(np.clip(high - low, 0, None))
    iou = both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)
    apart = np.sum(((a[:2] + a[2:] - b[:2] - b[2:]) / 2) ** 2) / np.sum((np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2])) ** 2)
    shape = 4 / np.pi**2 * (np.arctan2(*(a[2:] - a[:2])) - np.arctan2(*(b[2:] - b[:2]))) ** 2
    alpha = shape / (1 - iou + shape) if shape else 0.0
    return [round(float(value), 3) for value in (1 - iou, 1 - iou + apart, 1 - iou + apart + alpha * shape)]


def found(a, b):
    distances = (powerboxes.iou_distance, powerboxes.diou_distance, powerboxes.ciou_distance)
    return [round(float(distance(a[None], b[None])[0, 0]), 3) for distance in distances]


pairs = {
    "near": ([0, 0, 10, 10], [12, 0, 22, 10]),
    "far": ([0, 0, 10, 10], [900, 0, 910, 10]),
    "shifted": ([0, 0, 40, 40], [4, 0, 44, 40]),
    "inside": ([0, 0, 60, 60], [10, 10, 14, 14]),
}
for name, (a, b) in pairs.items():
    a, b = np.array(a, float), np.array(b, float)
    print(name, "right", right(a, b), "powerboxes", found(a, b))
for side in (150, 200, 300, 2000):
    a, b = np.array([[0, 0, side, side]]), np.array([[0, 0, side, side // 2]])
    kinds = (np.float64, np.int32, np.int16, np.uint16)
    print("half of", side, [round(float(powerboxes.iou_distance(a.astype(kind), b.astype(kind))[0, 0]), 2) for kind in kinds])
for angle in (0, 30, 60):
    square = np.array([[50.0, 50.0, 20.0, 20.0, angle]])
    print("itself, turned by", angle, abs(round(float(powerboxes.rotated_iou_distance(square, square)[0, 0]), 3)))
PY
)
echo "$seen"
[ "$seen" = "near right [1.0, 1.247, 1.247] powerboxes [1.0, 1.0, 1.0]
far right [1.0, 1.978, 1.978] powerboxes [1.0, 1.0, 1.0]
shifted right [0.182, 0.186, 0.186] powerboxes [0.182, 0.187, 0.186]
inside right [0.996, 1.086, 1.086] powerboxes [0.996, 21.246, 1.086]
half of 150 [0.5, 0.5, 0.5, 0.5]
half of 200 [0.5, 0.5, 2.28, 0.5]
half of 300 [0.5, 0.5, 1.84, 0.46]
half of 2000 [0.5, 0.5, 14.72, 0.93]
itself, turned by 0 0.0
itself, turned by 30 0.0
itself, turned by 60 0.086" ]
