#!/usr/bin/env bash
# onnxruntime 1.32.0: static quantization takes beta of a Gemm for 1: the bias is added once, whatever it is to be multiplied by.
#
# Guess: quantize_static gives a network whose numbers are the float one's to a few steps of 8 bits, as it does for Gemm with alpha.
# Seen: in QDQ and in QOperator format, by tensor and by channel, Gemm gets beta 1 (or QGemm, which has no beta) and keeps the bias as it was. With beta 3 and 0.25 (PyTorch's addmm(beta=...)) results are off
# by up to 28 % and 49 % of the range. Dynamic quantization leaves such a Gemm as it is. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
cat > seen.py <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, load, numpy_helper, save
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

generator = np.random.default_rng(0)
weight = generator.standard_normal((8, 4)).astype(np.float32)
bias = 3 * generator.standard_normal(4).astype(np.float32)
inputs = [generator.standard_normal((2, 8)).astype(np.float32) for _ in range(8)]


class Inputs(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": x} for x in inputs]

    def get_next(self):
        return self.left.pop() if self.left else None


def computed(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": x})[0] for x in inputs])


for beta in (1.0, 3.0, 0.25):
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], beta=beta)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "float.onnx")
    expected = np.stack([x @ weight + beta * bias for x in inputs])
    assert np.allclose(computed("float.onnx"), expected, atol=1e-5)
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        quantize_static("float.onnx", "int8.onnx", Inputs(), quant_format=form, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)
        off = np.abs(computed("int8.onnx") - expected).max() / np.ptp(expected)
        product = next(node for node in load("int8.onnx").graph.node if node.op_type in ("Gemm", "QGemm"))
        kept = [f"beta {attribute.f:g}" for attribute in product.attribute if attribute.name == "beta"]
        print("RESULT", f"beta {beta:g} {form}:", product.op_type, *kept, "within 1 %" if off < 0.01 else f"off by {off:.0%}")
PY
seen=$(venv/bin/python -W ignore seen.py 2> /dev/null | sed -n 's/^RESULT //p')
echo "$seen"
[ "$seen" = "beta 1 QDQ: Gemm beta 1 within 1 %
beta 1 QOperator: QGemm within 1 %
beta 3 QDQ: Gemm beta 1 off by 28%
beta 3 QOperator: QGemm off by 28%
beta 0.25 QDQ: Gemm beta 1 off by 49%
beta 0.25 QOperator: QGemm off by 49%" ]
