#!/usr/bin/env bash
# torchinfo 1.8.0 and torchprofile 0.1.0: a transposed convolution of stride 2 counts 4 times its multiplications, with 4 groups torchprofile counts 16 times.
#
# Guess: each multiplies every pixel of the input by kernel and channels out (by a group's share with groups), as fvcore and PyTorch's own counter do.
# Seen: both go by the pixels of the output, and torchprofile passes over the groups. Convolutions, dilated and grouped ones too, are counted right. In a U-Net, or the mask branch of Mask R-CNN, the layers
# that enlarge seem to be what costs. (thop and ptflops counted like this and have mended it; onnx-tool's issues know of its own.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 fvcore==0.1.5.post20221221 torchinfo==1.8.0 torchprofile==0.1.0
cd "$folder"
cat > seen.py <<'PY'
import torch
import torchinfo
import torchprofile
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

x = torch.zeros(1, 8, 16, 16)


def by_torch(layer):
    with FlopCounterMode(display=False) as counter:
        layer(x)
    return counter.get_total_flops() / 2


counters = {
    "torch": by_torch,
    "fvcore": lambda layer: FlopCountAnalysis(layer, x).total(),
    "torchinfo": lambda layer: torchinfo.summary(layer, input_data=x, verbose=0).total_mult_adds,
    "torchprofile": lambda layer: torchprofile.profile_macs(layer, x),
}
for name, layer, multiplications in (
    ("dilated", nn.Conv2d(8, 16, 3, padding=2, dilation=2, bias=False), 16 * 16 * 9 * 8 * 16),
    ("4 groups", nn.Conv2d(8, 16, 3, padding=1, groups=4, bias=False), 16 * 16 * 9 * 8 * 16 / 4),
    ("transposed", nn.ConvTranspose2d(8, 16, 3, padding=1, bias=False), 16 * 16 * 9 * 8 * 16),
    ("transposed, stride 2", nn.ConvTranspose2d(8, 16, 2, stride=2, bias=False), 16 * 16 * 4 * 8 * 16),
    ("transposed, stride 2, 4 groups", nn.ConvTranspose2d(8, 16, 2, stride=2, groups=4, bias=False), 16 * 16 * 4 * 8 * 16 / 4),
):
    print("RESULT", name, *(f"{counter} {count(layer.eval()) / multiplications:g}" for counter, count in counters.items()))
PY
seen=$(venv/bin/python -W ignore seen.py 2> /dev/null | sed -n 's/^RESULT //p')
echo "$seen"
[ "$seen" = "dilated torch 1 fvcore 1 torchinfo 1 torchprofile 1
4 groups torch 1 fvcore 1 torchinfo 1 torchprofile 1
transposed torch 1 fvcore 1 torchinfo 1 torchprofile 1
transposed, stride 2 torch 1 fvcore 1 torchinfo 4 torchprofile 4
transposed, stride 2, 4 groups torch 1 fvcore 1 torchinfo 4 torchprofile 16" ]
