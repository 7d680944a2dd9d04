#!/usr/bin/env bash
# OpenCV 5.0.0.93: its dnn module pads auto_pad="SAME_UPPER" on the wrong side, ignores `antialias`, and says nothing.
#
# Guess: read from ONNX, a layer gives onnxruntime's numbers to a thousandth, or the file is refused, as one with DeformConv is.
# Seen: SAME_UPPER, which networks from TensorFlow and Keras have, is computed as SAME_LOWER: where padding is odd, one row and column more go before the
# image and none after it, so that each such layer looks a pixel aside. The same padding written as `pads` is right. A picture that Resize with antialias
# makes smaller is not smoothed, bicubic GridSample has other weights, and MaxPool with ceil_mode has a row more than onnxruntime, all of it -3.4e38.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 opencv-python-headless==5.0.0.93
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import cv2
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

random = np.random.default_rng(0)
image = random.random((1, 2, 12, 16), np.float32)
weights = {"w": random.random((2, 2, 3, 3), np.float32)}
points = {"p": random.random((1, 9, 9, 2), np.float32) * 1.4 - 0.7}


def layer(kind, *inputs, opset=20, constants=None, **attributes):
    """What onnxruntime, ONNX's reference and OpenCV make of the image."""
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", *inputs], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    text = model.SerializeToString()
    runtime = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"]).run(None, {"x": image})[0]
    net = cv2.dnn.readNetFromONNX(np.frombuffer(text, np.uint8))
    net.setInput(image, "x")
    return runtime, ReferenceEvaluator(model).run(None, {"x": image})[0], net.forward()


def show(name, *arguments, **attributes):
    runtime, *others = layer(*arguments, **attributes)
    print(name, *(f"{np.abs(runtime - each).max():.2f}" if each.shape == runtime.shape else (*runtime.shape[2:], *each.shape[2:]) for each in others))


show("Conv SAME_UPPER", "Conv", "w", constants=weights, strides=[2, 2], auto_pad="SAME_UPPER")
upper, lower = (layer("Conv", "w", constants=weights, strides=[2, 2], auto_pad=each) for each in ("SAME_UPPER", "SAME_LOWER"))
print("as SAME_LOWER", np.allclose(upper[2], lower[0], atol=1e-4))
show("Conv pads", "Conv", "w", constants=weights, strides=[2, 2], pads=[0, 0, 1, 1])
show("MaxPool SAME_UPPER", "MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
show("MaxPool ceil_mode", "MaxPool", kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1)
print("last row", f"{layer('MaxPool', kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1)[2][0, 0, -1].max():.1e}")
show("Resize antialias", "Resize", "", "", "s", constants={"s": np.array([1, 2, 6, 8])}, mode="linear", antialias=1)
show("Resize", "Resize", "", "", "s", constants={"s": np.array([1, 2, 6, 8])}, mode="linear")
show("GridSample linear", "GridSample", "p", constants=points, mode="linear")
show("GridSample cubic", "GridSample", "p", constants=points, mode="cubic")
PY
)
echo "$seen"
[ "$seen" = "Conv SAME_UPPER 0.00 4.17
as SAME_LOWER True
Conv pads 0.00 0.00
MaxPool SAME_UPPER 0.00 0.37
MaxPool ceil_mode 0.00 (4, 6, 5, 6)
last row -3.4e+38
Resize antialias 0.00 0.19
Resize 0.00 0.00
GridSample linear 0.00 0.00
GridSample cubic 0.00 0.18" ]
