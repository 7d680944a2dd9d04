#!/usr/bin/env bash
# onnx 1.23.2: the reference evaluator can't compute DeformConv on a feature map of one row or one column.
#
# Guess: onnx.reference, which is there to define what operators compute, gives what onnxruntime gives for every valid model.
# Seen: it agrees with onnxruntime 1.32.0 to rounding on maps of two rows and more (strides, dilations, groups, offset groups and masks
# included), and raises ValueError on one of one row: it computes DeformConv through GridSample with align_corners=1, whose coordinates
# it divides by the height minus one. onnxruntime computes the same model. So do not test an export of a network that pools to one row,
# or a decomposition into GridSample, against the reference evaluator alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
seen=$(venv/bin/python -W ignore - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

rng = np.random.default_rng(0)
for height in (2, 1):
    values = {
        "x": rng.normal(size=(1, 4, height, 6)).astype(np.float32),
        "w": rng.normal(size=(4, 4, 3, 3)).astype(np.float32),
        "offset": rng.normal(size=(1, 18, height, 6)).astype(np.float32),
    }
    node = helper.make_node("DeformConv", list(values), ["y"], kernel_shape=[3, 3], pads=[1] * 4)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in values.items()]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runtime = session.run(None, values)[0]
    assert np.isfinite(runtime).all()
    try:
        print(height, "equal" if np.allclose(ReferenceEvaluator(model).run(None, values)[0], runtime, atol=1e-4) else "differs")
    except ValueError as error:
        print(height, f"ValueError: {error}")
PY
)
echo "$seen"
[ "$seen" = "2 equal
1 ValueError: cannot convert float NaN to integer" ]
