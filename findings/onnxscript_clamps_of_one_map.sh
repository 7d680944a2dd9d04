#!/usr/bin/env bash
# onnxscript 0.7.2: where one map is limited twice, each time from below and then from above, its optimizer, which torch.onnx.export runs by default, writes a file that no runtime can load.
#
# Guess: optimizing keeps a model valid, and numbers as they are.
# Seen: Clip(Clip(x, 0), max 6) becomes one Clip whose limits are named after x. A second pair of the same x gets the same names, is renamed, and loses its limits: the file names x_min_1, which
# is not in it. Nothing is said until a runtime refuses the file; so it is for two chains of Max, of Min, and two Flatten. PyTorch 2.14.1 exports `x.clamp(min=0).clamp(max=1) +
# x.clamp(min=-1).clamp(max=0.5)` this way. Limits given to one clamp, `x.clamp(0, 1)`, are no such chain.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnx-ir==1.1.0 onnxscript==0.7.2
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import onnx
import onnxscript.optimizer
from onnx import TensorProto, helper, numpy_helper

LIMITS = {"a": 0.0, "b": 6.0, "c": -1.0, "d": 1.0}
one = [helper.make_node("Clip", ["x", "a"], ["p"]), helper.make_node("Clip", ["p", "", "b"], ["y"])]
two = [*one, helper.make_node("Clip", ["x", "c"], ["q"]), helper.make_node("Clip", ["q", "", "d"], ["z"])]
for nodes, outputs in ((one, "y"), (two, "yz")):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in outputs],
        [numpy_helper.from_array(np.float32(value), name) for name, value in LIMITS.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    optimized = onnxscript.optimizer.optimize(model)
    kept = sorted(value.name for value in optimized.graph.initializer)
    print(sorted({name for node in optimized.graph.node for name in node.input}), "of which the file has", kept)
PY
)
echo "$seen"
[ "$seen" = "['x', 'x_max', 'x_min'] of which the file has ['x_max', 'x_min']
['x', 'x_max', 'x_max_1', 'x_min', 'x_min_1'] of which the file has ['x_max', 'x_min']" ]
