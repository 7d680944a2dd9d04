#!/usr/bin/env bash
# onnxoptimizer 0.4.2: zeros put around a map become part of the pooling after it, which pads by something else: other maxima and averages.
#
# Guess: the passes that fuse and eliminate leave a network's numbers as they are, or the nodes alone.
# Seen: fuse_pad_into_pool, one of the passes that run by default, takes Pad with 0 for padding of MaxPool, whose padding never wins where that zero does: at the border of a map with negative
# numbers the maxima are smaller. Of an AveragePool that has padding of its own, the zeros no longer count in the number that is divided by. onnxruntime's own
# optimizations leave both as they are. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 onnxoptimizer==0.4.2
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import onnxoptimizer
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

x = -np.ones((1, 1, 3, 3), np.float32)


def computed(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0][0, 0].astype(float).round(2).tolist()


for kind, attributes in (("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"pads": [1, 1, 1, 1]})):
    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["x", "sides"], ["padded"]),
            helper.make_node(kind, ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2], **attributes),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 0, 0], np.int64), "sides")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    optimized = onnxoptimizer.optimize(model)
    print(kind, attributes, [node.op_type for node in optimized.graph.node], computed(model), computed(optimized))
PY
)
echo "$seen"
[ "$seen" = "MaxPool {} ['MaxPool'] [[0.0]] [[-1.0]]
AveragePool {} ['AveragePool'] [[-0.44]] [[-0.44]]
AveragePool {'pads': [1, 1, 1, 1]} ['AveragePool'] [[-0.25, -0.5], [-0.5, -1.0]] [[-0.11, -0.33], [-0.33, -1.0]]" ]
