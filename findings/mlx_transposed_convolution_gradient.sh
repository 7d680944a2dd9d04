#!/usr/bin/env bash
# mlx 0.32.4: the gradient of a transposed convolution with output_padding has a row and a column too few, and that of a convolution before it is wrong.
#
# Guess: gradients of conv_transpose2d are those of its values, as PyTorch's are, for every padding and output_padding.
# Seen: where output_padding is larger than padding (stride 2, padding 0, output_padding 1: a map enlarged to an even size), the gradient of a map of 5 x 5 is 4 x 4. A function of values between
# (relu, batch normalization) stops with an error of shapes; where a convolution, with or without bias, comes before, its gradients have their own shapes and other numbers. Values, and the
# gradient of the transposed convolution's own weights, are right. padding 1 with output_padding 1 is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 "mlx[cpu]==0.32.4"
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import mlx.core as mx
import numpy as np

random = np.random.default_rng(0)
image, weight, upward, direction = (mx.array(random.standard_normal(shape).astype(np.float32)) for shape in ((1, 5, 5, 2), (3, 3, 3, 2), (2, 3, 3, 3), (3, 3, 3, 2)))


def loss(weight, padding):
    return mx.conv_transpose2d(mx.conv2d(image, weight, 1, 1), upward, 2, padding, 1, 1).square().mean()


features = mx.conv2d(image, weight, 1, 1)
for padding in (0, 1):
    grown, gradients = mx.vjp(lambda x: mx.conv_transpose2d(x, upward, 2, padding, 1, 1), [features], [mx.ones((1, 12 - 2 * padding, 12 - 2 * padding, 2))])
    by_backward = (mx.grad(loss)(weight, padding) * direction).sum().item()
    by_differences = (loss(weight + 0.01 * direction, padding) - loss(weight - 0.01 * direction, padding)).item() / 0.02
    print("padding", padding, features.shape, "gradient", gradients[0].shape, f"of the convolution before it {by_backward:.2f}, by differences {by_differences:.2f}")
PY
)
echo "$seen"
[ "$seen" = "padding 0 (1, 5, 5, 3) gradient (1, 4, 4, 3) of the convolution before it 11.47, by differences 21.33
padding 1 (1, 5, 5, 3) gradient (1, 5, 5, 3) of the convolution before it 23.20, by differences 23.20" ]
