#!/usr/bin/env bash
# litert-torch 0.10.0: a number minus a convolution becomes the convolution minus that number.
#
# Guess: 1 - conv(x), converted to LiteRT, is 1 - conv(x).
# Seen: it is conv(x) - 1: the sign of every value is exchanged. 2 / conv(x) is other numbers too. So it is of every kind of convolution, where what it is subtracted from is a constant (torch.ones_like(y)
# too) and nothing comes in between: 1 - sigmoid(conv(x)), conv(x) - 1 and what follows a linear layer are right. No warning, and in float32, without any quantization.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 litert-torch==0.10.0 ai-edge-litert==2.3.0 litert-converter==0.5.0
cd "$folder"
cat > seen.py <<'PY'
import litert_torch
import numpy as np
import torch
from torch import nn

torch.manual_seed(0)


class Network(nn.Module):
    def __init__(self, layer, function):
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, x):
        return self.function(self.layer(x))


image = torch.rand(1, 2, 4, 4)
rows = torch.rand(3, 2)
layers = {
    "Conv2d": (nn.Conv2d(2, 3, 1), image),
    "depth-wise Conv2d": (nn.Conv2d(2, 2, 3, groups=2), image),
    "ConvTranspose2d": (nn.ConvTranspose2d(2, 3, 2, stride=2), image),
    "Linear": (nn.Linear(2, 3), rows),
}
functions = {
    "1 - y": (lambda y: 1 - y, lambda y: y - 1),
    "2 / y": (lambda y: 2 / y, lambda y: y / 2),
    "1 - sigmoid(y)": (lambda y: 1 - y.sigmoid(), lambda y: y.sigmoid() - 1),
    "y - 1": (lambda y: y - 1, lambda y: 1 - y),
}
for kind, (layer, x) in layers.items():
    for name, (function, swapped) in functions.items():
        found = np.asarray(litert_torch.convert(Network(layer, function).eval(), (x,))(x))
        with torch.no_grad():
            right, other = (np.allclose(found, each(layer(x)).numpy(), rtol=1e-4, atol=1e-4) for each in (function, swapped))
        print("RESULT", f"{kind}, {name}: {'right' if right else 'the other way round' if other else 'other numbers'}", flush=True)
PY
seen=$(venv/bin/python -W ignore seen.py 2> /dev/null | sed -n 's/^RESULT //p')
echo "$seen"
[ "$seen" = "Conv2d, 1 - y: the other way round
Conv2d, 2 / y: other numbers
Conv2d, 1 - sigmoid(y): right
Conv2d, y - 1: right
depth-wise Conv2d, 1 - y: the other way round
depth-wise Conv2d, 2 / y: other numbers
depth-wise Conv2d, 1 - sigmoid(y): right
depth-wise Conv2d, y - 1: right
ConvTranspose2d, 1 - y: the other way round
ConvTranspose2d, 2 / y: other numbers
ConvTranspose2d, 1 - sigmoid(y): right
ConvTranspose2d, y - 1: right
Linear, 1 - y: right
Linear, 2 / y: right
Linear, 1 - sigmoid(y): right
Linear, y - 1: right" ]
