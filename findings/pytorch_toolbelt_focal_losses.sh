#!/usr/bin/env bash
# pytorch-toolbelt 0.8.0: BinaryFocalLoss with ignored pixels and a gamma that isn't whole gives the right loss and NaN gradients; CrossEntropyFocalLoss reduces what is easy least.
#
# Guess: pixels of ignore_index have no gradient, whatever gamma. With reduced_threshold pixels that are as wrong as the threshold or more weigh 1 and easier ones less, as in the reduced
# focal loss (Sergievskiy and Ponamarev 2019) and in BinaryFocalLoss.
# Seen: the label of an ignored pixel, such as 255, takes part in a power before it is masked: of a negative number with gamma 1.5 or 0.5 it is NaN, which masking takes out of the loss but
# not out of the gradient. CrossEntropyFocalLoss gives easy pixels weight 1, whatever gamma, and hard ones up to 4.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 opencv-python-headless==5.0.0.93
"$folder/venv/bin/pip" install --quiet --no-deps pytorch-toolbelt==0.8.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from pytorch_toolbelt.losses import BinaryFocalLoss, CrossEntropyFocalLoss

labels = torch.tensor([[[[0.0, 1.0, 255.0]]]])
for gamma in (2.0, 1.5, 0.5):
    scores = torch.tensor([[[[0.5, 0.5, 0.5]]]], requires_grad=True)
    loss = BinaryFocalLoss(gamma=gamma, ignore_index=255)(scores, labels)
    without = BinaryFocalLoss(gamma=gamma, reduction="sum")(scores.detach()[..., :2], labels[..., :2]) / 3
    loss.backward()
    gradient = [round(value, 3) for value in scores.grad.flatten().tolist()]
    print("gamma", gamma, "loss", round(loss.item(), 3), "without the ignored pixel", round(without.item(), 3), "gradient", gradient)
for chance in (0.9, 0.7, 0.3, 0.1):
    scores = torch.tensor([[chance, 1 - chance]]).log().view(1, 2, 1, 1)
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    plain = CrossEntropyFocalLoss(gamma=0.0)(scores, label).item()
    reduced = CrossEntropyFocalLoss(gamma=2.0, reduced_threshold=0.5)(scores, label).item()
    right = min(1.0, ((1 - chance) / 0.5) ** 2)
    print("probability", chance, "weight", round(reduced / plain, 2), "right", round(right, 2))
PY
)
echo "$seen"
[ "$seen" = "gamma 2.0 loss 0.148 without the ignored pixel 0.148 gradient [0.175, -0.046, -0.0]
gamma 1.5 loss 0.196 without the ignored pixel 0.196 gradient [0.192, -0.063, nan]
gamma 0.5 loss 0.353 without the ignored pixel 0.353 gradient [0.212, -0.108, nan]
probability 0.9 weight 1.0 right 0.04
probability 0.7 weight 1.0 right 0.36
probability 0.3 weight 1.96 right 1.0
probability 0.1 weight 3.24 right 1.0" ]
