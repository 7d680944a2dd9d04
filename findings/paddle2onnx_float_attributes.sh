#!/usr/bin/env bash
# paddle2onnx 2.1.0 beside PaddlePaddle 3.3.1, the newest of both: numbers of LeakyReLU, GroupNorm and padding are written to the file as arbitrary ones.
#
# Guess: LeakyReLU's slope, GroupNorm's epsilon and the value of a padding are exported as they are, or the versions don't work together and say so.
# Seen: what stands in the file is as of memory that nobody has set, another number in each export: slopes of 6e12 and 4e17, an epsilon of 0 or 1.8e31, zeros padded for -1. Slopes of ELU and
# epsilons of InstanceNorm and BatchNorm are right. Beside PaddlePaddle 3.0.0, which the package's page recommends, all are right; neither package asks for a version of the other, nothing is said,
# and the file is valid.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnxruntime==1.32.0 paddlepaddle==3.3.1 paddle2onnx==2.1.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY' | grep written
import numpy as np
import onnxruntime
import paddle
from paddle.static import InputSpec

x = np.random.default_rng(0).standard_normal((1, 4, 3, 3)).astype(np.float32) / 10
for layer in (
    paddle.nn.LeakyReLU(0.1),
    paddle.nn.GroupNorm(2, 4, epsilon=0.01),
    paddle.nn.Pad2D([1, 2, 0, 1], value=-1.0),
    paddle.nn.ELU(0.7),
    paddle.nn.InstanceNorm2D(4, epsilon=0.01),
    paddle.nn.BatchNorm2D(4, epsilon=0.01),
):
    layer.eval()
    paddle.onnx.export(layer, "layer", input_spec=[InputSpec(x.shape, "float32", "x")], opset_version=13)
    exported = onnxruntime.InferenceSession("layer.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    print(type(layer).__name__, "is written as it is" if np.allclose(layer(paddle.to_tensor(x)).numpy(), exported, atol=1e-4) else "isn't written")
PY
)
echo "$seen"
[ "$seen" = "LeakyReLU isn't written
GroupNorm isn't written
Pad2D isn't written
ELU is written as it is
InstanceNorm2D is written as it is
BatchNorm2D is written as it is" ]
