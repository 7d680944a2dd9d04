#!/usr/bin/env bash
# OpenVINO 2026.4.1: of ONNX's Resize, `antialias`, `exclude_outside` and `keep_aspect_ratio_policy` are ignored without a word.
#
# Guess: OpenVINO computes a Resize as onnxruntime and ONNX's reference do, up to rounding, or refuses the model, as it does for the rule of
# coordinates half_pixel_symmetric.
# Seen: it reads the model and says nothing. A picture that the network makes smaller has the aliases of one that is not smoothed, exactly what it
# has without the attribute; of a picture that should keep its proportions both sides are stretched, so that the output has another shape.
# Converted from PyTorch directly, interpolate(antialias=True) is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>&1 <<'PY'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

image = np.random.default_rng(0).random((1, 3, 48, 64), np.float32)
core = openvino.Core()


def resized(size, **attributes):
    """The image as onnxruntime, ONNX's reference and OpenVINO resize it."""
    node = helper.make_node("Resize", ["image", "", "", "size"], ["small"], axes=[2, 3], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("small", TensorProto.FLOAT, [1, 3, None, None])],
        [numpy_helper.from_array(np.array(size), "size")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    text = model.SerializeToString()
    runtime = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
    compiled = core.compile_model(core.read_model(text), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return runtime, ReferenceEvaluator(model).run(None, {"image": image})[0], compiled([image])[0]


for mode, attribute, size in (("linear", "antialias", [12, 16]), ("cubic", "antialias", [12, 16]), ("cubic", "exclude_outside", [60, 80])):
    runtime, reference, other = resized(size, mode=mode, **{attribute: 1})
    same = (np.abs(runtime - each).max() < 1e-4 for each in (reference, other, resized(size, mode=mode)[0]))
    print(mode, attribute, *same, "as without it:", np.array_equal(other, resized(size, mode=mode)[2]))
for policy in ("not_larger", "not_smaller"):
    print(policy, *(each.shape[2:] for each in resized([12, 12], mode="linear", keep_aspect_ratio_policy=policy)))
PY
)
echo "$seen"
[ "$seen" = "linear antialias True False False as without it: True
cubic antialias True False False as without it: True
cubic exclude_outside True False False as without it: True
not_larger (9, 12) (9, 12) (12, 12)
not_smaller (12, 16) (12, 16) (12, 12)" ]
