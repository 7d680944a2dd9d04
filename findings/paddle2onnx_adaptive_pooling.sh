#!/usr/bin/env bash
# paddle2onnx 2.1.0: adaptive pooling to a size that doesn't divide the map is written as pooling with one window size, with other numbers.
#
# Guess: AdaptiveAvgPool2D and AdaptiveMaxPool2D compute in onnxruntime what they compute in PaddlePaddle, or are refused, as PyTorch's exporter refuses them.
# Seen: they become AveragePool and MaxPool with stride input // output and a window that reaches the end: right where the size divides, elsewhere windows are too large and in other places. Of
# 7 rows pooled to 4, those of two rows become those of four. The shape is right, and nothing is said: pyramids of pooled maps (PSPNet's bins of 2, 3 and 6) change at sizes that aren't multiples.
# Beside PaddlePaddle 3.0.0, which the package's page recommends, as beside 3.3.1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnxruntime==1.32.0 paddlepaddle==3.3.1 paddle2onnx==2.1.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY' | grep pooled
import numpy as np
import onnxruntime
import paddle
from paddle.static import InputSpec

for rows, size in ((8, 4), (7, 4), (65, 6)):
    x = np.arange(rows, dtype=np.float32).reshape(1, 1, rows, 1)
    for pool in (paddle.nn.AdaptiveAvgPool2D([size, 1]), paddle.nn.AdaptiveMaxPool2D([size, 1])):
        pool.eval()
        paddle.onnx.export(pool, "pool", input_spec=[InputSpec(x.shape, "float32", "x")], opset_version=13)
        exported = onnxruntime.InferenceSession("pool.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        print(rows, "pooled", *(np.round(pooled.ravel(), 1).tolist() for pooled in (pool(paddle.to_tensor(x)).numpy(), exported)))
PY
)
echo "$seen"
[ "$seen" = "8 pooled [0.5, 2.5, 4.5, 6.5] [0.5, 2.5, 4.5, 6.5]
8 pooled [1.0, 3.0, 5.0, 7.0] [1.0, 3.0, 5.0, 7.0]
7 pooled [0.5, 2.0, 4.0, 5.5] [1.5, 2.5, 3.5, 4.5]
7 pooled [1.0, 3.0, 5.0, 6.0] [3.0, 4.0, 5.0, 6.0]
65 pooled [5.0, 15.5, 26.5, 37.5, 48.5, 59.0] [7.0, 17.0, 27.0, 37.0, 47.0, 57.0]
65 pooled [10.0, 21.0, 32.0, 43.0, 54.0, 64.0] [14.0, 24.0, 34.0, 44.0, 54.0, 64.0]" ]
