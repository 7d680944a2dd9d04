#!/usr/bin/env bash
# grad-cam 1.5.7: with aug_smooth=True half of a map is of what lies at the mirrored place of the pixels that were asked for.
#
# Guess: aug_smooth averages maps of the image and of its mirror image, each of the same object: for a network that moves with its input the map of an object is the same with it as without.
# Seen: the image is mirrored, what is asked is not: the mask of SemanticSegmentationTarget stays where it is, and in the mirror image another object, or background, lies there. Mirrored back it is
# on the map as high as what was asked for. For classes of whole images nothing is wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 grad-cam==1.5.7 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import torch
from pytorch_grad_cam import HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget
from torch import nn

network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 2, 1, bias=False)).eval()  # each pixel on its own
with torch.no_grad():
    for weight in network.parameters():
        weight.fill_(1)
image = torch.zeros(1, 1, 6, 12)
image[..., 2:4, 1:4] = image[..., 2:4, 8:11] = 1  # an object left, an object right
mask = np.zeros((6, 12), np.float32)
mask[2:4, 1:4] = 1  # the left one is asked for
target = [SemanticSegmentationTarget(1, mask)]
for method in (HiResCAM, LayerCAM):
    for smooth in (False, True):
        print(method.__name__, "smoothed" if smooth else "alone", *(f"{value:.1f}" for value in method(network, [network[0]])(image, target, aug_smooth=smooth)[0][2]))
PY
)
echo "$seen"
[ "$seen" = "HiResCAM alone 0.0 1.0 1.0 1.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0
HiResCAM smoothed 0.0 0.5 0.5 0.5 0.0 0.0 0.0 0.0 0.5 0.5 0.5 0.0
LayerCAM alone 0.0 1.0 1.0 1.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0
LayerCAM smoothed 0.0 0.5 0.5 0.5 0.0 0.0 0.0 0.0 0.5 0.5 0.5 0.0" ]
