#!/usr/bin/env bash
# Keras 3.15.1 on PyTorch: RandomRotation moves the mask to another place than the image: aside by half its size, or out of the picture.
#
# Guess: called with a dict of images, segmentation_masks and bounding_boxes, the layer moves all three alike: a box stays within 2 pixels of the bounds
# of its object in the image and in the mask.
# Seen: image and box are right, and so is the mask where JAX computes it. With PyTorch ops.image.affine_transform swaps numbers in the matrix that it is
# given, in place; the image is turned first, so that the mask gets a matrix of another movement, which pushes the object aside or out. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 torch==2.14.1 numpy==2.4.6
cd "$folder"
cat > turn.py <<'PY'
import keras
import numpy as np


def bounds(shown):
    """x and y of the left upper and the right lower corner of what is shown."""
    rows, columns = np.nonzero(shown)
    return [int(each) for each in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)] if len(rows) else None


mask = np.zeros((1, 100, 160, 1), np.int32)
mask[:, 40:70, 60:90] = 1
image = np.repeat(mask, 3, axis=-1).astype(np.float32)
boxes = {"boxes": np.array([[[60, 40, 90, 70]]], np.float32), "labels": np.zeros((1, 1), np.float32)}
for turn in (0.02, 0.05, 0.1):
    layer = keras.layers.RandomRotation((turn, turn), fill_mode="constant", bounding_box_format="xyxy")
    moved = layer({"images": image, "segmentation_masks": mask, "bounding_boxes": dict(boxes)}, training=True)
    shown, marked, box = (
        keras.ops.convert_to_numpy(each) for each in (moved["images"], moved["segmentation_masks"], moved["bounding_boxes"]["boxes"])
    )
    print(keras.backend.backend(), turn, bounds(shown[0, :, :, 0] > 0.5), box[0, 0].round().astype(int).tolist(), bounds(marked[0, :, :, 0] > 0.5))
PY
seen=$(for backend in jax torch; do KERAS_BACKEND=$backend KERAS_HOME="$folder" venv/bin/python -W ignore turn.py 2> /dev/null; done)
echo "$seen"
[ "$seen" = "jax 0.02 [59, 39, 92, 72] [59, 39, 92, 72] [59, 39, 92, 72]
jax 0.05 [58, 38, 96, 75] [58, 37, 96, 75] [58, 38, 96, 75]
jax 0.1 [58, 36, 99, 78] [58, 36, 100, 78] [58, 36, 100, 78]
torch 0.02 [59, 39, 92, 72] [59, 39, 92, 72] [73, 21, 107, 54]
torch 0.05 [58, 38, 96, 75] [58, 37, 96, 75] [86, 0, 122, 23]
torch 0.1 [58, 36, 99, 78] [58, 36, 100, 78] None" ]
