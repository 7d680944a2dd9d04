#!/usr/bin/env bash
# PaddlePaddle 3.3.1: roi_align has a wrong gradient for regions smaller than a cell and NaN for empty ones, and box_coder of pixels gives boxes back half a pixel off.
#
# Guess: the gradient of roi_align is that of its values; regions without width or height are 0, as in PyTorch; a box that box_coder encodes and decodes again is that box.
# Seen: with aligned=True, the default, the values of a region below 1 cell of the feature map are right, and its gradient on CPUs is that of a region of 1 cell:
# of boxes of 8 and 16 pixels at a stride of 32 it goes to the row below. A region without height is NaN unless sampling_ratio says how many samples a cell has, and one such box makes a network's loss NaN.
# With box_normalized=False, encode_center_size measures the middle of a box of pixels by another rule than that of the anchor: a box isn't 0 relative to itself, and what is decoded lies half
# a pixel up and left. Normalized boxes come back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 paddlepaddle==3.3.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import paddle
from paddle.vision import ops

count = paddle.to_tensor([1], dtype="int32")


def pooled(features, box, ratio=2):
    return ops.roi_align(features, paddle.to_tensor([box], dtype="float64"), count, 1, 1 / 32, ratio)


for side in (8, 16, 32):
    box = [72.0, 72.0, 72.0 + side, 72.0 + side]
    features = paddle.zeros([1, 1, 5, 5], dtype="float64")
    features.stop_gradient = False
    pooled(features, box).backward()
    ones = np.eye(25).reshape(25, 1, 1, 5, 5)
    slopes = [pooled(paddle.to_tensor(one), box).item() for one in ones]
    print(side, "pixels", features.grad[0, 0, 1:4, 2].numpy().round(3).tolist(), "by its values", np.round(slopes, 3)[7:18:5].tolist())
print("empty", *(pooled(paddle.ones([1, 1, 5, 5], dtype="float64"), [40.0, 40.0, 90.0, 40.0], ratio).item() for ratio in (-1, 2)))

box = paddle.to_tensor([[10.0, 20.0, 29.0, 59.0]])
for normalized in (True, False):
    code = ops.box_coder(box, [0.1, 0.1, 0.2, 0.2], box, "encode_center_size", normalized)
    back = ops.box_coder(box, [0.1, 0.1, 0.2, 0.2], code, "decode_center_size", normalized)
    print("normalized" if normalized else "pixels", *(value.numpy().astype(float).round(3).ravel().tolist() for value in (code, back)))
PY
)
echo "$seen"
[ "$seen" = "8 pixels [0.0, 0.562, 0.188] by its values [0.109, 0.766, 0.0]
16 pixels [0.0, 0.562, 0.188] by its values [0.055, 0.766, 0.055]
32 pixels [0.0, 0.562, 0.188] by its values [0.0, 0.562, 0.188]
empty nan 1.0
normalized [0.0, 0.0, 0.0, 0.0] [10.0, 20.0, 29.0, 59.0]
pixels [-0.25, -0.125, 0.0, 0.0] [9.5, 19.5, 28.5, 58.5]" ]
