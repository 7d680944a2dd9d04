#!/usr/bin/env bash
# torchvision 0.29.1: the offsets of deform_conv2d have a gradient at positions of exactly -1, and none at the opposite border.
#
# Guess: a sample at -1 is 0, as all further out, so moving the point outwards changes nothing; the gradient there is 0, as it is at the
# height and the width on the other side, where the map ends as well.
# Seen: at y = -1 it is the slope of the inner side, 7 for a map of sevens; at y = 4, of a map of four rows, it is 0. Padding of one
# puts whole rows of a new layer's sampling points at -1, so its first steps differ from those of mmcv, Paddle and the DCN authors' code.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>/dev/null <<'PY'
import torch
from torchvision.ops import deform_conv2d

sevens, weight = torch.full((1, 1, 4, 4), 7.0), torch.ones(1, 1, 1, 1)
for y in (-1.5, -1.0, -0.5, 3.5, 4.0, 4.5):
    offset = torch.zeros(1, 2, 4, 4)
    offset[0, 0, 0, 1] = y  # of the first row, second column
    offset.requires_grad_()
    sample = deform_conv2d(sevens, offset, weight)[0, 0, 0, 1]
    (gradient,) = torch.autograd.grad(sample, offset)
    print(y, sample.item(), gradient[0, 0, 0, 1].item())
PY
)
echo "$seen"
[ "$seen" = "-1.5 0.0 0.0
-1.0 0.0 7.0
-0.5 3.5 7.0
3.5 3.5 -7.0
4.0 0.0 0.0
4.5 0.0 0.0" ]
