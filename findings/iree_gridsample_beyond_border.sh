#!/usr/bin/env bash
# IREE 3.13.0: bilinear GridSample with zeros outside takes pixels of the row above or below for points one pixel and more left or right of the map.
#
# Guess: ONNX's GridSample is computed as onnxruntime computes it, or refused as bicubic, border and reflection are.
# Seen: inside the map and up to a pixel outside the values are right. Further left or right, where there is nothing but zeros, the pixel is taken that lies at this place in memory: two pixels left of
# row 2 that is the last but one of row 1 (above and below the map it is what is stored before and after it, which isn't shown here). A deformable convolution written as GridSample, whose offsets
# point anywhere, is computed wrongly at the sides of every map. No warning. PyTorch agrees with onnxruntime.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 iree-base-compiler==3.13.0 iree-base-runtime==3.13.0
cd "$folder"
cat > seen.py <<'PY'
import iree.compiler.tools as compiler
import numpy as np
import onnxruntime
from iree import runtime
from iree.compiler.tools.import_onnx import __main__ as importer
from onnx import TensorProto, helper, save

image = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)  # each pixel is its place in memory
points = [(2.5, 2), (-0.5, 2), (-1.5, 2), (-2, 2), (5.5, 2), (6, 2), (7, 2), (2, -0.5), (2, 5.5)]  # x and y in pixels
places = ((2 * np.array(points, np.float32) + 1) / 6 - 1).reshape(1, 1, -1, 2)
graph = helper.make_graph(
    [helper.make_node("GridSample", ["image", "places"], ["y"], mode="bilinear", padding_mode="zeros")],
    "sampled",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, image.shape), helper.make_tensor_value_info("places", TensorProto.FLOAT, places.shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, 1, len(points)))],
)
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "network.onnx")
session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
expected = session.run(None, {"image": image, "places": places})[0].ravel()

importer.main(importer.parse_arguments(["network.onnx", "-o", "network.mlir"]))
program = compiler.compile_file("network.mlir", target_backends=["llvm-cpu"], input_type="onnx", extra_args=["--iree-llvmcpu-target-cpu=generic"])
config = runtime.Config("local-sync")
context = runtime.SystemContext(vm_modules=[runtime.VmModule.copy_buffer(config.vm_instance, program)], config=config)
computed = np.asarray(context.modules.module["sampled"](image, places)).ravel()
for point, right, seen in zip(points, expected, computed):
    print("RESULT", *point, f"is {seen:.1f}" + ("" if np.isclose(right, seen, atol=1e-3) else f", not {right:.1f}"))
PY
seen=$(venv/bin/python -W ignore seen.py 2> /dev/null | sed -n 's/^RESULT //p')
echo "$seen"
[ "$seen" = "2.5 2 is 14.5
-0.5 2 is 6.0
-1.5 2 is 5.5, not 0.0
-2 2 is 10.0, not 0.0
5.5 2 is 8.5
6 2 is 18.0, not 0.0
7 2 is 19.0, not 0.0
2 -0.5 is 1.0
2 5.5 is 16.0" ]
