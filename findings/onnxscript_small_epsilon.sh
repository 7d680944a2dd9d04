#!/usr/bin/env bash
# onnxscript 0.7.2: its optimizer, which torch.onnx.export runs by default, takes an epsilon of 1e-8 or less for zero and removes the addition: NaN and -inf where PyTorch has numbers.
#
# Guess: an addition is removed if what is added is zero.
# Seen: constants of a rule (here x + 0) match whatever is within 1e-8 of them. `x / (x.sum() + 1e-8)` of a map of zeros, 0 in PyTorch, is NaN in the file, `log(p + 1e-12)` of a probability
# of 0 is -inf instead of -27.6, and nothing is said; 1e-7 stays. The same network exported by PyTorch 2.14.1 with optimize=False has PyTorch's numbers. Multiplying by 1.000009 is removed too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnx-ir==1.1.0 onnxscript==0.7.2 onnxruntime==1.32.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import onnxruntime
import onnxscript.optimizer
from onnx import TensorProto, helper, numpy_helper


def computed(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [round(float(output.item()), 2) for output in session.run(None, {"x": np.zeros(1, np.float32)})]


for epsilon in (1e-7, 1e-8, 1e-12):
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "epsilon"], ["a"]), helper.make_node("Div", ["x", "a"], ["share"]), helper.make_node("Log", ["a"], ["log"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("share", "log")],
        [numpy_helper.from_array(np.float32(epsilon), "epsilon")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    print(epsilon, computed(model), computed(onnxscript.optimizer.optimize(model)))
PY
)
echo "$seen"
[ "$seen" = "1e-07 [0.0, -16.12] [0.0, -16.12]
1e-08 [0.0, -18.42] [nan, -inf]
1e-12 [0.0, -27.63] [nan, -inf]" ]
