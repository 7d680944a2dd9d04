#!/usr/bin/env bash
# apache-tvm 0.27.0.post1: RoiAlign of ONNX with half_pixel moves regions by half a pixel of the image, where ONNX says half a pixel of the feature map.
#
# Guess: an ONNX file read by TVM's Relax front end has onnxruntime's numbers, or is refused.
# Seen: the half is taken from the boxes before they are scaled to the map. At a stride of 16 regions lie 0.47 map pixels to the lower
# right, which is 7.5 pixels of the image; at a stride of 1 they are right, and output_half_pixel (torchvision's aligned=False) always. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 apache-tvm==0.27.0.post1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import onnx
import onnxruntime
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

columns = np.tile(np.arange(8, dtype=np.float32), (1, 1, 8, 1))  # a pixel's value is its column
for stride, mode in ((1, "half_pixel"), (16, "half_pixel"), (16, "output_half_pixel")):
    node = helper.make_node(
        "RoiAlign", ["x", "boxes", "images"], ["y"], coordinate_transformation_mode=mode, sampling_ratio=2, spatial_scale=1 / stride
    )
    box = stride * np.array([[2, 2, 4, 4]], np.float32)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, columns.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 1])],
        [numpy_helper.from_array(box, "boxes"), numpy_helper.from_array(np.zeros(1, np.int64), "images")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    machine = relax.VirtualMachine(tvm.compile(from_onnx(model), target="llvm"), tvm.cpu())
    pooled = [session.run(None, {"x": columns})[0], machine["main"](tvm.runtime.tensor(columns)).numpy()]
    print("stride", stride, mode, [round(float(result.item()), 3) for result in pooled])
PY
)
echo "$seen"
[ "$seen" = "stride 1 half_pixel [2.5, 2.5]
stride 16 half_pixel [2.5, 2.969]
stride 16 output_half_pixel [3.0, 3.0]" ]
