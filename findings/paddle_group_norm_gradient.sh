#!/usr/bin/env bash
# PaddlePaddle 3.3.1: the gradient of a group normalization without a scale of its own is wrong on CPUs.
#
# Guess: GroupNorm(weight_attr=False) has the values and gradients of a GroupNorm whose scale is 1 for each channel.
# Seen: the values are the same; the gradient is another one, with a bias or without, by a quarter of it in groups of 512 values and more in smaller ones. That of a scale of 1 agrees with
# differences of values. LayerNorm, InstanceNorm and BatchNorm without a scale are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 paddlepaddle==3.3.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import paddle
from paddle.nn import functional

random = np.random.default_rng(0)
for side in (1, 4, 16):
    x, along, direction = (paddle.to_tensor(random.standard_normal((1, 4, side, side))) for _ in range(3))
    ones = paddle.ones([4], dtype="float64")


    def normalized(values, scale):
        return (functional.group_norm(values, 2, weight=scale) * along).sum()


    def slope(scale):
        values = x.clone()
        values.stop_gradient = False
        normalized(values, scale).backward()
        return float((values.grad * direction).sum())


    step = 1e-5
    for name, scale in (("none", None), ("ones", ones)):
        difference = float(normalized(x + step * direction, scale) - normalized(x - step * direction, scale)) / (2 * step)
        print(f"{side} x {side}", name, f"value {float(normalized(x, scale)):.3f} by differences {difference:.3f} by backward {slope(scale):.3f}")
PY
)
echo "$seen"
[ "$seen" = "1 x 1 none value -0.540 by differences -0.001 by backward -1.118
1 x 1 ones value -0.540 by differences -0.001 by backward -0.001
4 x 4 none value -18.758 by differences -0.051 by backward -0.414
4 x 4 ones value -18.758 by differences -0.051 by backward -0.051
16 x 16 none value -92.838 by differences -6.192 by backward -7.755
16 x 16 ones value -92.838 by differences -6.192 by backward -6.192" ]
