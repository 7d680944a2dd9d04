#!/usr/bin/env bash
# PaddlePaddle 3.3.1: with padding="SAME" a convolution's dilation is passed over: it is computed with neighbouring pixels.
#
# Guess: conv2d(padding="SAME", dilation=2) is conv2d(padding=2, dilation=2) where the kernel has 3 x 3 weights, as in other frameworks.
# Seen: it is conv2d(padding=1, dilation=1), in one, two and three dimensions, by function and by layer, and so are its gradients; a transposed convolution likewise. Nothing is said, and
# the size of the result is right: a network with dilated convolutions trains, and its receptive field is a fraction of what its author counted. padding="VALID" and numbers dilate.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 paddlepaddle==3.3.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import paddle
from paddle.nn import functional

points = paddle.zeros([1, 1, 9])
points[..., 4] = 1
image = paddle.zeros([1, 1, 9, 9])
image[..., 4, 4] = 1
volume = paddle.zeros([1, 1, 9, 9, 9])
volume[..., 4, 4, 4] = 1
layer = paddle.nn.Conv2D(1, 1, 3, padding="SAME", dilation=2, bias_attr=False)
layer.weight.set_value(paddle.ones([1, 1, 3, 3]))
for padding in (2, "SAME"):
    for name, convolved in (
        ("1-D", functional.conv1d(points, paddle.ones([1, 1, 3]), padding=padding, dilation=2)),
        ("2-D", functional.conv2d(image, paddle.ones([1, 1, 3, 3]), padding=padding, dilation=2)[0, 0, 4]),
        ("3-D", functional.conv3d(volume, paddle.ones([1, 1, 3, 3, 3]), padding=padding, dilation=2)[0, 0, 4, 4]),
        ("transposed", functional.conv2d_transpose(image, paddle.ones([1, 1, 3, 3]), padding=padding, dilation=2)[0, 0, 4]),
    ):
        print(padding, name, *convolved.flatten().astype("int32").tolist())
print("layer", *layer(image)[0, 0, 4].astype("int32").tolist())
PY
)
echo "$seen"
[ "$seen" = "2 1-D 0 0 1 0 1 0 1 0 0
2 2-D 0 0 1 0 1 0 1 0 0
2 3-D 0 0 1 0 1 0 1 0 0
2 transposed 0 0 1 0 1 0 1 0 0
SAME 1-D 0 0 0 1 1 1 0 0 0
SAME 2-D 0 0 0 1 1 1 0 0 0
SAME 3-D 0 0 0 1 1 1 0 0 0
SAME transposed 0 0 0 1 1 1 0 0 0
layer 0 0 0 1 1 1 0 0 0" ]
