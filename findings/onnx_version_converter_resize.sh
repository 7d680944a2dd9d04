#!/usr/bin/env bash
# ONNX 1.23.2: a model with a linear Resize or Upsample computes something else after `version_converter` has brought it to opset 11 or later.
#
# Guess: `convert_version` keeps what a model computes: up to rounding, in onnxruntime, the same numbers before and after.
# Seen: nearest neighbours stay, bilinear values move by half a pixel. Up to opset 10 coordinates are divided by the scale ("asymmetric"); from 11
# on the default is half_pixel, and the converter does not write the attribute that would keep the old rule. No warning, and the checker passes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>&1 <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, version_converter

ramp = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)


def model_of(operator, opset, mode):
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "scales"], ["y"], mode=mode)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ramp.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 8])],
        [numpy_helper.from_array(np.array([1, 1, 1, 2], np.float32), "scales")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=5)


def computed(model):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": ramp})[0].ravel().tolist()


for operator, opset in (("Resize", 10), ("Upsample", 9)):
    for mode in ("nearest", "linear"):
        model = model_of(operator, opset, mode)
        print(operator, mode, computed(model))
        for target in (10, 11, 18):
            if target > opset and (after := computed(version_converter.convert_version(model, target))) != computed(model):
                print(f"opset {target}:", after)
PY
)
echo "$seen"
[ "$seen" = "Resize nearest [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
Resize linear [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0]
opset 11: [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
opset 18: [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
Upsample nearest [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
Upsample linear [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0]
opset 11: [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
opset 18: [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]" ]
