#!/usr/bin/env bash
# ptflops 0.7.5: one of its two backends counts a deformable convolution, the other leaves it out, and neither says so.
#
# Guess: 0 for torchvision's deform_conv2d with both backends, as with other counters, which don't know the operator.
# Seen: the default backend, "pytorch", counts 1,942,400: a plain convolution's 1,856,000 and something for the sampling. "aten" counts 0. The
# same network is half as expensive with the other backend.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 ptflops==0.7.5
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>&1 <<'PY'
import torch
from ptflops import get_model_complexity_info
from torch import nn
from torchvision.ops import DeformConv2d


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = DeformConv2d(16, 32, 3, padding=1)
        self.offsets = torch.zeros(1, 18, 20, 20)

    def forward(self, x):
        return self.layer(x, self.offsets)


for backend in ("pytorch", "aten"):
    told = get_model_complexity_info(
        Layer(), (16, 20, 20), as_strings=False, print_per_layer_stat=False, backend=backend
    )
    print(backend, *told)
PY
)
echo "$seen"
[ "$seen" = "pytorch 1942400 4640
aten 0 4640" ]
