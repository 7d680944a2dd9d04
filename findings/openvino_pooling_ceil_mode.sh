#!/usr/bin/env bash
# OpenVINO 2026.4.1: with ceil_mode and padding, averages are divided by other counts, and maxima have a row and a column more.
#
# Guess: AveragePool and MaxPool with ceil_mode=1 are what onnxruntime computes, for all sizes, paddings and count_include_pad.
# Seen: where a window reaches beyond the padding, with count_include_pad=1 (PyTorch's default), OpenVINO divides by the whole window; onnxruntime,
# ONNX's reference and PyTorch count only what is image or padding: the last row and column are a third too small. MaxPool of ONNX has
# another row and column where the last window would begin in the padding, which onnxruntime and PyTorch leave out.
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
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

core = openvino.Core()


def pooled(operator, side, **attributes):
    """Ones (side, side) as onnxruntime, ONNX's reference and OpenVINO pool them."""
    image = np.ones((1, 1, side, side), np.float32)
    node = helper.make_node(operator, ["image"], ["small"], ceil_mode=1, pads=[1] * 4, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("small", TensorProto.FLOAT, [1, 1, None, None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    text = model.SerializeToString()
    runtime = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
    compiled = core.compile_model(core.read_model(text), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [each[0, 0] for each in (runtime, ReferenceEvaluator(model).run(None, {"image": image})[0], compiled([image])[0])]


for inside_alone in (False, True):
    rows = pooled("AveragePool", 6, kernel_shape=[3, 3], strides=[2, 2], count_include_pad=int(not inside_alone))
    print("average of ones, second row:", *([round(float(value), 2) for value in each[1]] for each in rows))
print("maxima:", *(each.shape for each in pooled("MaxPool", 5, kernel_shape=[2, 2], strides=[2, 2])))
PY
)
echo "$seen"
[ "$seen" = "average of ones, second row: [0.67, 1.0, 1.0, 0.5] [0.67, 1.0, 1.0, 0.5] [0.67, 1.0, 1.0, 0.33]
average of ones, second row: [1.0, 1.0, 1.0, 1.0] [1.0, 1.0, 1.0, 1.0] [1.0, 1.0, 1.0, 1.0]
maxima: (3, 3) (3, 3) (4, 4)" ]
