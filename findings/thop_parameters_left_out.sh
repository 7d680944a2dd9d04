#!/usr/bin/env bash
# thop 0.1.1: the parameters of a deformable convolution are left out of the number of parameters, not only its computation.
#
# Guess: `profile` knows no rule for torchvision's DeformConv2d, so that it counts 0 multiplications for it, and all 8,555 parameters of the
# network (3,915 of the offset branch, 4,640 of the layer).
# Seen: 0 multiplications, and 3,915 parameters: a layer without a rule is missing from both, and nothing is said of it. Tables of papers that
# have both columns from thop show a deformable network as hardly larger than its plain parts.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 thop==0.1.1.post2209072238
cd "$folder"
seen=$(venv/bin/python -W ignore - <<'PY'
import torch
from thop import profile
from torch import nn
from torchvision.ops import DeformConv2d


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = nn.Conv2d(16, 27, 3, padding=1)
        self.layer = DeformConv2d(16, 32, 3, padding=1)

    def forward(self, x):
        branch = self.branch(x)
        return self.layer(x, branch[:, :18], branch[:, 18:].sigmoid())


network = Network()
print(sum(parameter.numel() for parameter in network.parameters()))
print(*profile(network, (torch.randn(1, 16, 20, 20),), verbose=False))
PY
)
echo "$seen"
[ "$seen" = "8555
1555200.0 3915.0" ]
