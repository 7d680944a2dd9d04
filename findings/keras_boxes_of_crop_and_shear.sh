#!/usr/bin/env bash
# Keras 3.15.1: RandomCrop and RandomShear move boxes otherwise than the image and its mask, by up to 27 and 8 pixels here.
#
# Guess: layers called with a dict of images, segmentation_masks and bounding_boxes move all three alike: a box stays within 2 pixels of the bounds of
# its object in the image and in the mask.
# Seen: so it is with RandomFlip, RandomTranslation, RandomZoom, RandomPerspective and RandomRotation, and for every layer's masks. But RandomCrop
# takes from a box's x what is cut off at the top and from its y what is cut off on the left, and RandomShear's boxes are beside their objects.
# No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 numpy==2.4.6
cd "$folder"
seen=$(KERAS_BACKEND=jax KERAS_HOME="$folder" venv/bin/python -W ignore - 2> /dev/null <<'PY'
import keras
import numpy as np
from keras import layers

LEFT, TOP, RIGHT, BOTTOM = 60, 40, 90, 70


def bounds(shown):
    """x and y of the left upper and the right lower corner of what is shown."""
    rows, columns = np.nonzero(shown)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) if len(rows) else np.full(4, np.inf)


mask = np.zeros((1, 100, 160, 1), np.int32)
mask[:, TOP:BOTTOM, LEFT:RIGHT] = 1
image = np.repeat(mask, 3, axis=-1).astype(np.float32)
boxes = {"boxes": np.array([[[LEFT, TOP, RIGHT, BOTTOM]]], np.float32), "labels": np.zeros((1, 1), np.float32)}
for kind, arguments in {
    layers.RandomFlip: {},
    layers.RandomTranslation: {"height_factor": 0.2, "width_factor": 0.2, "fill_mode": "constant"},
    layers.RandomZoom: {"height_factor": 0.3, "fill_mode": "constant"},
    layers.RandomPerspective: {"scale": 0.3},
    layers.RandomRotation: {"factor": 0.1, "fill_mode": "constant"},
    layers.RandomCrop: {"height": 80, "width": 120},
    layers.RandomShear: {"x_factor": 0.3, "y_factor": 0.3, "fill_mode": "constant"},
}.items():
    farthest = np.zeros(2)
    for seed in range(5):
        layer = kind(seed=seed, bounding_box_format="xyxy", **arguments)
        moved = layer({"images": image, "segmentation_masks": mask, "bounding_boxes": dict(boxes)}, training=True)
        of_image = bounds(np.asarray(moved["images"])[0, :, :, 0] > 0.5)
        found = bounds(np.asarray(moved["segmentation_masks"])[0, :, :, 0] > 0.5), np.asarray(moved["bounding_boxes"]["boxes"])[0, 0]
        farthest = np.maximum(farthest, [np.abs(of_image - each).max() for each in found])
    print(kind.__name__, "mask", f"{farthest[0]:.0f}", "box", f"{farthest[1]:.0f}")
PY
)
echo "$seen"
[ "$seen" = "RandomFlip mask 0 box 0
RandomTranslation mask 0 box 0
RandomZoom mask 0 box 1
RandomPerspective mask 1 box 1
RandomRotation mask 1 box 1
RandomCrop mask 0 box 27
RandomShear mask 1 box 8" ]
