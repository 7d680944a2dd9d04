#!/usr/bin/env bash
# OpenVINO 2026.4.1: RoiAlign of a region without extent is no number, where others have 0.
#
# Guess: RoiAlign with half_pixel and sampling_ratio 0 (torchvision's and detectron2's aligned=True, as many samples as fit) agrees with onnxruntime, ONNX's
# reference and torchvision for every region, also those that clipping has left without width or height, and rows of zeros that fill a list up.
# Seen: it agrees for all others, reversed ones too; where the width or the height is exactly 0 it divides 0 by 0 and gives NaN, which every layer behind it
# spreads through its region, and a mean over regions through all. The others give 0, since they divide by one sample at least.
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
regions = {"region": [1, 2, 7, 6], "reversed": [6, 5, 3, 2], "no width": [2, 2, 2, 5], "no extent": [0, 0, 0, 0]}
values = {
    "x": np.random.default_rng(0).normal(size=(1, 4, 7, 9)).astype(np.float32),
    "rois": np.array(list(regions.values()), np.float32),
    "images": np.zeros(len(regions), np.int64),
}
for samples in (0, 2):
    node = helper.make_node(
        "RoiAlign", list(values), ["y"], output_height=2, output_width=2, sampling_ratio=samples, coordinate_transformation_mode="half_pixel"
    )
    types = TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64
    inputs = [helper.make_tensor_value_info(n, t, v.shape) for (n, v), t in zip(values.items(), types, strict=True)]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=9)
    text = model.SerializeToString()
    runtime = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"]).run(None, values)[0]
    assert np.allclose(ReferenceEvaluator(model).run(None, values)[0], runtime, atol=1e-4)
    other = core.compile_model(core.read_model(text), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(list(values.values()))[0]
    for name, a, b in zip(regions, runtime, other, strict=True):
        print(samples, name, "NaN for 0" if np.isnan(b).all() and not a.any() else "equal" if np.allclose(a, b, atol=1e-4) else "differs")
PY
)
echo "$seen"
[ "$seen" = "0 region equal
0 reversed equal
0 no width NaN for 0
0 no extent NaN for 0
2 region equal
2 reversed equal
2 no width equal
2 no extent equal" ]
