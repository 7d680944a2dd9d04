#!/usr/bin/env bash
# segmentation_models_pytorch 0.6.0: the Lovasz loss of a batch whose pixels are all ignored is no number.
#
# Guess: LovaszLoss("multiclass", ignore_index=255) of a batch where every pixel is 255 is 0, with finite gradients, as DiceLoss's is.
# Seen: an empty tensor of shape (0, classes). Its backward pass raises "grad can be implicitly created only for scalar outputs"; added
# to another loss it makes that empty too. Crops of sparsely annotated images (aerial images, Cityscapes' borders) meet it with small batches.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 segmentation_models_pytorch==0.6.0
cd "$folder"
seen=$(venv/bin/python -W ignore - <<'PY'
import torch
from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss

scores = torch.zeros(1, 3, 8, 8, requires_grad=True)
ignored = torch.full((1, 8, 8), 255)
for kind in (DiceLoss, LovaszLoss):
    loss = kind("multiclass", ignore_index=255)(scores, ignored)
    print(kind.__name__, tuple(loss.shape))
    try:
        loss.backward()
        print(scores.grad.abs().max().item())
    except RuntimeError as error:
        print(error)
PY
)
echo "$seen"
[ "$seen" = "DiceLoss ()
0.0
LovaszLoss (0, 3)
grad can be implicitly created only for scalar outputs" ]
