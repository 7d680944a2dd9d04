#!/usr/bin/env bash
# ignite 0.5.5: a class that is in no image and was predicted nowhere has IoU 0 and counts in the mean, so that perfect predictions don't reach 1.
#
# Guess: a perfect prediction has a mean IoU and Dice of 1 where a class is absent from both truth and prediction: the class is left out.
# Seen: mIoU of four classes, of which three are there, is 0.75; IoU, JaccardIndex and DiceCoefficient give 0 for the fourth, not NaN, so that
# nothing tells it from a class that is always missed. torchmetrics gives 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchmetrics==1.9.0 pytorch-ignite==0.5.5 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from ignite.metrics import ConfusionMatrix, DiceCoefficient, IoU, JaccardIndex, mIoU
from torch.nn.functional import one_hot
from torchmetrics import JaccardIndex as OtherJaccard
from torchmetrics.segmentation import MeanIoU

truth = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [3, 3, 3, 3]]])
found = one_hot(truth, 4).permute(0, 3, 1, 2).float()
for kind in (mIoU, IoU, JaccardIndex, DiceCoefficient):
    counts = ConfusionMatrix(num_classes=4)
    metric = kind(counts)
    counts.update((found, truth))
    print(kind.__name__, [round(each, 2) for each in metric.compute().reshape(-1).tolist()])
print("torchmetrics", MeanIoU(4, input_format="index")(truth, truth).item(), OtherJaccard("multiclass", num_classes=4)(truth, truth).item())
PY
)
echo "$seen"
[ "$seen" = "mIoU [0.75]
IoU [1.0, 1.0, 0.0, 1.0]
JaccardIndex [1.0, 1.0, 0.0, 1.0]
DiceCoefficient [1.0, 1.0, 0.0, 1.0]
torchmetrics 1.0 1.0" ]
