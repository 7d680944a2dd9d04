#!/usr/bin/env bash
# onnxruntime 1.32.0: static quantization makes NaN of a map that is padded with -inf before its maxima, and takes the limits of a clamp that lies above 0 for limits from 0.
#
# Guess: a network in 8 bits gives what it gave to a few per cent of its range, or quantizing refuses.
# Seen: "same" max pooling as timm and TensorFlow have it (Pad with -inf, then MaxPool) is quantized with a step of inf, and every pixel is NaN; with -1e9 for -inf every pixel is one number.
# A clamp from 1 to 2 is removed, as its range is to be that of the 8 bits, which always has 0: what was 1 is 0, and so that what is divided by it is inf. Nothing is said. `op_types_to_quantize`
# without Pad helps the first, `QDQKeepRemovableActivations` the second.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

x = np.linspace(-4, 4, 16, dtype=np.float32).reshape(1, 1, 4, 4)


class Images(CalibrationDataReader):
    def __init__(self):
        self.images = iter([{"x": x}])

    def get_next(self):
        return next(self.images, None)


def computed(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result = session.run(None, {"x": x})[0].astype(float)
    return [round(float(value), 1) for value in (result.min(), result.max())]


def pool(value):
    return [
        helper.make_node("Pad", ["c", "sides", "value"], ["padded"], name="pad"),
        helper.make_node("MaxPool", ["padded"], ["y"], name="pool", kernel_shape=[2, 2]),
    ], {"sides": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "value": np.float32(value)}


def clamp(low, high):
    return [helper.make_node("Clip", ["c", "low", "high"], ["y"], name="clip")], {"low": np.float32(low), "high": np.float32(high)}


for name, (nodes, constants) in {"pad -inf": pool(-np.inf), "pad -1e9": pool(-1e9), "clamp -1 to 2": clamp(-1, 2), "clamp 1 to 2": clamp(1, 2)}.items():
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"], name="conv"), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, key) for key, value in {"w": np.ones((1, 1, 1, 1), np.float32), **constants}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), "float.onnx")
    quantize_static("float.onnx", "int8.onnx", Images())
    print(name, computed("float.onnx"), computed("int8.onnx"))
PY
)
echo "$seen"
[ "$seen" = "pad -inf [-4.0, 4.0] [nan, nan]
pad -1e9 [-4.0, 4.0] [0.0, 0.0]
clamp -1 to 2 [-1.0, 2.0] [-1.0, 2.0]
clamp 1 to 2 [1.0, 2.0] [0.0, 2.0]" ]
