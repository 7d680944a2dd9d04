#!/usr/bin/env bash
# ONNX 1.23.2: with ceil_mode the reference evaluator shifts averages by a pixel, and has more maxima than there are windows.
#
# Guess: the evaluator that ships with the standard, onnxruntime and shape inference give one result for AveragePool and MaxPool.
# Seen: where the last window reaches beyond the image (3 pixels with stride 3, of 7), the evaluator puts half of what is missing before the image, as with SAME: each average is that of
# a window a pixel higher and further left than onnxruntime's, which begins at the first pixel. Of MaxPool with stride 1 and padding, where ceil_mode changes nothing, the evaluator gives a
# map of 7 x 7 in place of 5 x 5. No warning; without ceil_mode all agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, shape_inference
from onnx.reference import ReferenceEvaluator


def results(kind, size, **attributes):
    """The output inferred, of the reference and of onnxruntime, for an image of ascending numbers."""
    x = np.arange(size * size, dtype=np.float32).reshape(1, 1, size, size)
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], kernel_shape=[3, 3], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    shape = [each.dim_value for each in shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return shape, ReferenceEvaluator(model).run(None, {"x": x})[0], session.run(None, {"x": x})[0]


for ceil_mode in (0, 1):
    shape, reference, runtime = results("AveragePool", 7, strides=[3, 3], ceil_mode=ceil_mode)
    print("AveragePool", ceil_mode, shape[2:], *(each[0, 0].round(1).tolist() for each in (reference, runtime)))
for ceil_mode in (0, 1):
    shape, reference, runtime = results("MaxPool", 5, pads=[1, 1, 1, 1], ceil_mode=ceil_mode)
    print("MaxPool", ceil_mode, shape[2:], reference.shape[2:], runtime.shape[2:])
PY
)
echo "$seen"
[ "$seen" = "AveragePool 0 [2, 2] [[8.0, 11.0], [29.0, 32.0]] [[8.0, 11.0], [29.0, 32.0]]
AveragePool 1 [3, 3] [[4.0, 6.5, 8.5], [21.5, 24.0, 26.0], [35.5, 38.0, 40.0]] [[8.0, 11.0, 13.0], [29.0, 32.0, 34.0], [43.0, 46.0, 48.0]]
MaxPool 0 [5, 5] (5, 5) (5, 5)
MaxPool 1 [5, 5] (7, 7) (5, 5)" ]
