#!/usr/bin/env bash
# OpenVINO 2026.4.1: QuantizeLinear rounds half-way values to odd numbers where the zero point is odd.
#
# Guess: x / scale is rounded to the nearest, half-way values to the even one, and the zero point is added then, as ONNX says and as onnxruntime and
# ONNX's reference compute it, whatever the zero point.
# Seen: with zero point 0 or 128 it is so. With an odd one all half-way values go the other way, for the zero point is added before
# rounding: 0.5 becomes 1, 1.5 becomes 1. One step of 8 bits, where ranges and values are round numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>/dev/null <<'PY'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

core = openvino.Core()
values = np.arange(8, dtype=np.float32) + 0.5
for zero in (0, 3, 128, 129):
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["steps"]),
            helper.make_node("DequantizeLinear", ["steps", "scale", "zero"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, values.shape)],
        [numpy_helper.from_array(np.float32(1), "scale"), numpy_helper.from_array(np.uint8(zero), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    text = model.SerializeToString()
    runtime = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"]).run(None, {"x": values})[0]
    compiled = core.compile_model(core.read_model(text), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rows = runtime, ReferenceEvaluator(model).run(None, {"x": values})[0], compiled([values])[0]
    print(zero, *(row.astype(int).tolist() for row in rows))
PY
)
echo "$seen"
[ "$seen" = "0 [0, 2, 2, 4, 4, 6, 6, 8] [0, 2, 2, 4, 4, 6, 6, 8] [0, 2, 2, 4, 4, 6, 6, 8]
3 [0, 2, 2, 4, 4, 6, 6, 8] [0, 2, 2, 4, 4, 6, 6, 8] [1, 1, 3, 3, 5, 5, 7, 7]
128 [0, 2, 2, 4, 4, 6, 6, 8] [0, 2, 2, 4, 4, 6, 6, 8] [0, 2, 2, 4, 4, 6, 6, 8]
129 [0, 2, 2, 4, 4, 6, 6, 8] [0, 2, 2, 4, 4, 6, 6, 8] [1, 1, 3, 3, 5, 5, 7, 7]" ]
