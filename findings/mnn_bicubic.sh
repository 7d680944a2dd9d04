#!/usr/bin/env bash
# MNN 3.6.1: bicubic enlarging has a wrong first row and column, bicubic GridSample is bilinear, and reflection at its borders is replication.
#
# Guess: mnnconvert refuses what MNN can't compute, as it does other operators, and the rest is what onnxruntime computes.
# Seen: ONNX's Resize with cubic (PyTorch's interpolate(mode="bicubic")) is right but for the first row and column of every enlarged map, where other pixels are taken: off by up to 0.95 for
# values from 0 to 1. Making smaller is right. GridSample with bicubic gives the numbers of bilinear, with padding_mode reflection those of border. The converter says nothing. bilinear, nearest,
# zeros and border are right. PyTorch agrees with onnxruntime. The converter is called here beneath its command line: `mnnconvert` itself runs `pip install -U aliyun-log-python-sdk` with the pip that
# PATH has, whichever Python that is for, and where it can reach a server reports the machine's id, the model's size and the arguments.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 MNN==3.6.1
cd "$folder"
cat > seen.py <<'PY'
import _tools
import numpy as np
import onnxruntime
from MNN import expr, nn
from onnx import TensorProto, helper, numpy_helper, save

generator = np.random.default_rng(0)
x = generator.random((1, 1, 6, 6), np.float32)
points = (generator.random((1, 4, 5, 2), np.float32) * 3 - 1.5).astype(np.float32)


def saved(operator, inputs, constants=(), **attributes):
    names = [name for name in inputs if name in ("x", "points")]
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, arrays[name].shape) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        list(constants),
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "network.onnx")
    return names


def by_onnxruntime(names):
    session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {name: arrays[name] for name in names})[0]


def by_mnn(names):
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", "network.onnx", "--MNNModel", "network.mnn", "--bizCode", "network"])
    variables = []
    for name in names:
        variable = expr.placeholder(list(arrays[name].shape), expr.NCHW, expr.float)
        variable.write(arrays[name])
        variables.append(variable)
    output = expr.convert(nn.load_module_from_file("network.mnn", names, ["y"]).forward(variables)[0], expr.NCHW)
    return np.array(output.read()).reshape(output.shape)


arrays = {"x": x, "points": points}
for mode in ("linear", "cubic"):
    for size in ((12, 12), (7, 9), (4, 3)):
        sizes = numpy_helper.from_array(np.array([1, 1, *size], np.int64), "sizes")
        names = saved("Resize", ["x", "", "", "sizes"], [sizes], mode=mode, coordinate_transformation_mode="half_pixel")
        off = np.abs(by_mnn(names) - by_onnxruntime(names))[0, 0] > 1e-3
        expected = np.zeros_like(off)
        expected[0] = expected[:, 0] = True
        said = "equal" if not off.any() else "other numbers elsewhere" if (off & ~expected).any() else f"{off.sum()} pixels of the first row and column differ"
        print("RESULT", mode, size, said)

modes = [(mode, padding) for mode in ("bilinear", "bicubic") for padding in ("zeros", "border", "reflection")]
computed = {}
for mode, padding in modes:
    names = saved("GridSample", ["x", "points"], mode=mode, padding_mode=padding)
    computed[mode, padding] = by_onnxruntime(names), by_mnn(names)
for mode, padding in modes:
    same = [" ".join(other) for other in modes if np.allclose(computed[mode, padding][1], computed[other][0], atol=1e-3)]
    print("RESULT", mode, padding, "is", *same)
PY
seen=$(venv/bin/python -W ignore seen.py 2> /dev/null | sed -n 's/^RESULT //p')
echo "$seen"
[ "$seen" = "linear (12, 12) equal
linear (7, 9) equal
linear (4, 3) equal
cubic (12, 12) 23 pixels of the first row and column differ
cubic (7, 9) 15 pixels of the first row and column differ
cubic (4, 3) equal
bilinear zeros is bilinear zeros
bilinear border is bilinear border
bilinear reflection is bilinear border
bicubic zeros is bilinear zeros
bicubic border is bilinear border
bicubic reflection is bilinear border" ]
