#!/usr/bin/env bash
# pnnx 20261020 (ncnn): circular padding of a convolution becomes zeros, and averages with ceil_mode divide by what no pixel was counted for.
#
# Guess: a padding mode that ncnn has no layer for is refused, as lp_pool2d and others are, and averages are PyTorch's.
# Seen: nn.Conv2d with padding_mode="circular" and nn.CircularPad2d are written as padding by 0, without a word; "reflect" and "replicate" are right. AvgPool2d with ceil_mode and PyTorch's default
# of count_include_pad divides by the whole window where it reaches beyond map and padding: two thirds of PyTorch's average in the last row and column here, 4/9 in the corner. Both in fp32.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 ncnn==1.0.20261020 pnnx==20261020
cd "$folder"
cat > seen.py <<'PY'
import ncnn
import numpy as np
import pnnx
import torch
from torch import nn

torch.manual_seed(0)
x = torch.rand(1, 4, 8, 8)


class Network(nn.Module):
    """The layer after one that tells pnnx which axis is the batch."""

    def __init__(self, layer):
        super().__init__()
        self.first, self.layer = nn.ReLU(), layer

    def forward(self, x):
        return self.layer(self.first(x))


for name, layer in {
    **{mode: nn.Conv2d(4, 4, 3, padding=1, padding_mode=mode) for mode in ("zeros", "reflect", "replicate", "circular")},
    "pad": nn.CircularPad2d(1),
    "average": nn.AvgPool2d(3, stride=2),
    "average, ceil_mode": nn.AvgPool2d(3, stride=2, ceil_mode=True),
}.items():
    network = Network(layer).eval()
    pnnx.export(network, "network.pt", (x,), fp16=False)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param("network.ncnn.param")
    net.load_model("network.ncnn.bin")
    extractor = net.create_extractor()
    pixels = x[0].numpy()
    extractor.input("in0", ncnn.Mat(pixels).clone())
    _, output = extractor.extract("out0")
    computed = np.array(output)
    with torch.no_grad():
        expected = network(x)[0].numpy()
        zeros = None
        if name in ("circular", "pad"):
            padded = nn.functional.pad(x, (1, 1, 1, 1))
            zeros = (nn.functional.conv2d(padded, layer.weight, layer.bias) if name == "circular" else padded)[0].numpy()
    line = f"RESULT {name}: {'equal' if np.allclose(computed, expected, atol=1e-4) else 'other numbers'}"
    if zeros is not None:
        line += f", {'equal' if np.allclose(computed, zeros, atol=1e-4) else 'other numbers'} with zeros"
    if name == "average, ceil_mode":
        line += f", last row is {(computed[0, -1, 0] / expected[0, -1, 0]):.3f} and corner {(computed[0, -1, -1] / expected[0, -1, -1]):.3f} of PyTorch's"
    print(line, flush=True)
PY
seen=$(venv/bin/python -W ignore seen.py 2> /dev/null | sed -n 's/^RESULT //p')
echo "$seen"
[ "$seen" = "zeros: equal
reflect: equal
replicate: equal
circular: other numbers, equal with zeros
pad: other numbers, equal with zeros
average: equal
average, ceil_mode: other numbers, last row is 0.667 and corner 0.444 of PyTorch's" ]
