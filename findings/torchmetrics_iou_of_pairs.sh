#!/usr/bin/env bash
# torchmetrics 1.9.0: IntersectionOverUnion of boxes that are all found exactly is 0.5 where an image has two objects of a class, 0.25 where it has four.
#
# Guess: the IoU, and the generalized IoU, of perfect predictions of two objects of one class in an image is 1.
# Seen: 1 only where each object of an image has a class of its own. Each prediction is also paired with every other object of its class in
# the image, and the mean is over all pairs: of N objects 1 / N at best, and less for the generalized IoU, which is negative between boxes far apart.
# So the number falls with how crowded images are, however good the boxes. The complete and the distance IoU do likewise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 torchmetrics==1.9.0 pycocotools==2.0.11 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from torchmetrics import detection

kinds = [getattr(detection, f"{name}IntersectionOverUnion") for name in ("", "Generalized", "Distance", "Complete")]
for classes in ([1], [1, 2], [1, 1], [1, 1, 1], [1, 1, 1, 1]):
    left = 100.0 * torch.arange(len(classes))
    boxes = torch.stack([left, left * 0, left + 50, left * 0 + 50], 1)
    truth = {"boxes": boxes, "labels": torch.tensor(classes)}
    found = {**truth, "scores": torch.ones(len(classes))}
    metrics = [kind() for kind in kinds]
    print(classes, *(f"{next(iter(metric([found], [truth]).values())):.2f}" for metric in metrics))
PY
)
echo "$seen"
[ "$seen" = "[1] 1.00 1.00 1.00 1.00
[1, 2] 1.00 1.00 1.00 1.00
[1, 1] 0.50 0.33 0.30 0.30
[1, 1, 1] 0.33 0.05 0.02 0.02
[1, 1, 1, 1] 0.25 -0.11 -0.14 -0.14" ]
