#!/usr/bin/env bash
# segmentation_models_pytorch 0.6.0: a dilated encoder computes something else than its weights learnt, except for timm's (tu-...).
#
# Guess: with output_stride=16 an encoder's features are those of the strided one at twice as many pixels, so that every second of them is one of
# these: that is what dilation in place of strides is for (the a trous algorithm), and why published weights can be kept.
# Seen: so it is with tu-resnet18 and tu-resnet50. The library's own resnet18 and resnet50 differ by a third and a fifth of the largest
# feature, at random weights: all convolutions of the last stage are dilated, with them the one that strode, which had read neighbouring
# pixels. DeepLabV3, DeepLabV3Plus and PAN dilate their encoders unless told otherwise, and load weights that were learnt with strides.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 segmentation_models_pytorch==0.6.0 timm==1.0.31
cd "$folder"
seen=$(venv/bin/python -W ignore - <<'PY'
import torch
from segmentation_models_pytorch.encoders import get_encoder

torch.manual_seed(0)
image = torch.randn(1, 3, 128, 128, dtype=torch.float64)
for name in ("resnet18", "resnet50", "tu-resnet18", "tu-resnet50"):
    strided = get_encoder(name, weights=None).double().eval()
    dilated = get_encoder(name, weights=None, output_stride=16).double().eval()
    dilated.load_state_dict(strided.state_dict())
    with torch.no_grad():
        wanted, dense = strided(image)[-1], dilated(image)[-1]
    apart = (dense[:, :, ::2, ::2] - wanted).abs().max() / wanted.abs().max()
    print(name, "the same" if apart < 1e-9 else "more than a tenth apart" if apart > 0.1 else f"{apart:.3f} apart")
PY
)
echo "$seen"
[ "$seen" = "resnet18 more than a tenth apart
resnet50 more than a tenth apart
tu-resnet18 the same
tu-resnet50 the same" ]
