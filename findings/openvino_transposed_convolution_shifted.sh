#!/usr/bin/env bash
# OpenVINO 2026.4.1: a ConvTranspose with output_shape is shifted by a pixel, for some values of auto_pad with groups and for others without.
#
# Guess: a ConvTranspose of an ONNX file gives what onnxruntime gives, whether its size is said by pads or by output_shape, with groups as without.
# Seen: a kernel of 3 and a stride of 2 that double a map, as decoders have, are right where pads say which row and column are left out. Where output_shape
# does, SAME_UPPER is shifted by a row and a column; with two groups SAME_UPPER is right, and NOTSET and SAME_LOWER are shifted. onnxruntime gives
# with two groups what it gives for each of them alone. The shape is right, and there is no warning.
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

rng = np.random.default_rng(0)
core = openvino.Core()
values = rng.normal(size=(1, 4, 7, 9)).astype(np.float32)


def both(x, weight, groups, attributes):
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], kernel_shape=[3, 3], strides=[2, 2], group=groups, **attributes)
    shape, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", x.shape), ("y", None)))
    graph = helper.make_graph([node], "g", [shape], [result], [numpy_helper.from_array(weight, "w")])
    text = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9).SerializeToString()
    runtime = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    return runtime, core.compile_model(core.read_model(text), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]


weight = rng.normal(size=(4, 2, 3, 3)).astype(np.float32)
for attributes in (
    {"pads": [0, 0, 1, 1]},
    {"output_shape": [14, 18]},
    {"output_shape": [14, 18], "auto_pad": "SAME_UPPER"},
    {"output_shape": [14, 18], "auto_pad": "SAME_LOWER"},
):
    told = []
    for groups in (1, 2):
        runtime, other = both(values, weight, groups, attributes)
        alone = [both(x, w, 1, attributes)[0] for x, w in zip(np.split(values, groups, 1), np.split(weight, groups), strict=True)]
        assert np.allclose(runtime, np.concatenate(alone, 1), atol=1e-4)
        moved = np.roll(other, (-1, -1), (2, 3)), np.roll(other, (1, 1), (2, 3))
        if np.allclose(runtime, other, atol=1e-4):
            told.append("equal")
        elif any(np.allclose(runtime[..., 2:-2, 2:-2], m[..., 2:-2, 2:-2], atol=1e-4) for m in moved):
            told.append("shifted")
        else:
            told.append("differs")
    print(*(name for name in ("pads", "output_shape") if name in attributes), attributes.get("auto_pad", "NOTSET"), *told)
PY
)
echo "$seen"
[ "$seen" = "pads NOTSET equal equal
output_shape NOTSET equal shifted
output_shape SAME_UPPER shifted equal
output_shape SAME_LOWER equal shifted" ]
