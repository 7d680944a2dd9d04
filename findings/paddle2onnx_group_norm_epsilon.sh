#!/usr/bin/env bash
# paddle2onnx 2.1.0: the epsilon of a GroupNorm isn't written to the file: what stands there is as of memory that nobody has set, 0 or 1.8e31.
#
# Guess: GroupNorm(epsilon=...) is exported with its epsilon, as InstanceNorm and BatchNorm are.
# Seen: InstanceNormalization, which the group normalization becomes, has another epsilon in each run and each export. Mostly it is 0 and the file differs a little, unless a group is constant (NaN);
# at times it is huge, and the whole layer is its bias. Nothing is said by the exporter, and the file is valid.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 paddlepaddle==3.3.1 paddle2onnx==2.1.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY' | grep epsilon
import onnx
import paddle
from paddle.static import InputSpec

for kind, options in ((paddle.nn.GroupNorm, (2, 4)), (paddle.nn.InstanceNorm2D, (4,)), (paddle.nn.BatchNorm2D, (4,))):
    for epsilon in (1e-5, 1e-3, 1e-2):
        layer = kind(*options, epsilon=epsilon)
        layer.eval()
        paddle.onnx.export(layer, "layer", input_spec=[InputSpec([1, 4, 3, 3], "float32", "x")], opset_version=13)
        written = [attribute.f for node in onnx.load("layer.onnx").graph.node for attribute in node.attribute if attribute.name == "epsilon"]
        print(kind.__name__, "epsilon", epsilon, "is written" if len(written) == 1 and abs(written[0] / epsilon - 1) < 0.01 else "isn't written")
PY
)
echo "$seen"
[ "$seen" = "GroupNorm epsilon 1e-05 isn't written
GroupNorm epsilon 0.001 isn't written
GroupNorm epsilon 0.01 isn't written
InstanceNorm2D epsilon 1e-05 is written
InstanceNorm2D epsilon 0.001 is written
InstanceNorm2D epsilon 0.01 is written
BatchNorm2D epsilon 1e-05 is written
BatchNorm2D epsilon 0.001 is written
BatchNorm2D epsilon 0.01 is written" ]
