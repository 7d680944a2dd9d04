#!/usr/bin/env bash
# paddle2onnx 2.1.0: roi_align(aligned=False), the limits of Hardtanh and the output_size of a transposed convolution are passed over.
#
# Guess: what PaddlePaddle computes is what the file computes, or the exporter refuses it.
# Seen: regions are always aligned, that is, half a cell up and left of what was trained; Hardtanh limits at -1 and 1 whatever its limits are; a transposed convolution with output_size has the size
# that it has without. Nothing is said. All of it beside PaddlePaddle 3.0.0, which the package's page recommends, and 3.3.1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 setuptools==80.9.0 onnxruntime==1.32.0 paddlepaddle==3.0.0 paddle2onnx==2.1.0
cd "$folder"
cat > layers.py <<'PY'
import paddle
from paddle.vision import ops


class Regions(paddle.nn.Layer):
    def __init__(self, aligned):
        super().__init__()
        self.aligned = aligned

    def forward(self, x, boxes, count):
        return ops.roi_align(x, boxes, count, 2, 1.0, 2, self.aligned)


class Enlarged(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.layer = paddle.nn.Conv2DTranspose(1, 1, 3, 2, 1)

    def forward(self, x):
        return self.layer(x, output_size=[12, 12])
PY
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY' | grep ^layer
import layers
import numpy as np
import onnxruntime
import paddle
from paddle.static import InputSpec

ramp = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
regions = (ramp, np.array([[1, 1, 5, 5]], np.float32), np.array([1], np.int32))
for name, layer, inputs in (
    ("aligned", layers.Regions(True), regions),
    ("not aligned", layers.Regions(False), regions),
    ("Hardtanh", paddle.nn.Hardtanh(-10.0, 20.0), (ramp,)),
    ("transposed", layers.Enlarged(), (ramp,)),
):
    layer.eval()
    specifications = [InputSpec(array.shape, str(array.dtype), f"x{index}") for index, array in enumerate(inputs)]
    paddle.onnx.export(layer, "layer", input_spec=specifications, opset_version=16)
    exported = onnxruntime.InferenceSession("layer.onnx", providers=["CPUExecutionProvider"]).run(None, {f"x{index}": array for index, array in enumerate(inputs)})[0]
    computed = layer(*map(paddle.to_tensor, inputs)).numpy()
    print("layer", name, *(result.shape if name == "transposed" else result.ravel()[[0, -1]].astype(float).tolist() for result in (computed, exported)))
PY
)
echo "$seen"
[ "$seen" = "layer aligned [10.5, 24.5] [10.5, 24.5]
layer not aligned [14.0, 28.0] [10.5, 24.5]
layer Hardtanh [0.0, 20.0] [0.0, 1.0]
layer transposed (1, 1, 12, 12) (1, 1, 11, 11)" ]
