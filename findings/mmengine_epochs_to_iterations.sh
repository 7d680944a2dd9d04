#!/usr/bin/env bash
# mmengine 0.10.7: ExponentialLR with convert_to_iter_based multiplies the rate by gamma in every iteration, and PolyLR by epochs trains the last epoch with a rate of 0.
#
# Guess: a scheduler that is given in epochs and converted (convert_to_iter_based=True, build_iter_from_epoch) has the rates of the one by epochs where epochs begin, and goes evenly between them;
# polynomial decay over 5 epochs is PyTorch's PolynomialLR, with 0 after the last epoch.
# Seen: StepLR, MultiStepLR and CosineAnnealingLR are converted so. Of ExponentialLR only begin and end are: with gamma 0.5 and epochs of 10 iterations the rate is halved ten times an epoch. PolyLR's
# decay is over one epoch less than it is told, so that the fifth epoch of five trains nothing; converted, it is one iteration less. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 mmengine==0.10.7 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from mmengine.optim import scheduler
from torch import nn


def rates(build, every=1):
    """The rate at the beginning of each of five epochs."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, seen = build(optimizer), []
    for _ in range(5 * every):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return " ".join(f"{rate:.4f}" for rate in seen[::every])


for name, settings in (
    ("StepLR", {"step_size": 2, "gamma": 0.5}),
    ("CosineAnnealingLR", {"T_max": 5}),
    ("ExponentialLR", {"gamma": 0.5}),
    ("PolyLR", {"power": 1.0, "end": 5}),
):
    kind = getattr(scheduler, name)
    converted = rates(lambda optimizer: kind.build_iter_from_epoch(optimizer, epoch_length=10, **settings), 10)
    print(f"{name}: by epochs {rates(lambda optimizer: kind(optimizer, **settings))}, converted {converted}")
print("PyTorch's PolynomialLR:", rates(lambda optimizer: torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=5, power=1.0)))
PY
)
echo "$seen"
[ "$seen" = "StepLR: by epochs 0.1000 0.1000 0.0500 0.0500 0.0250, converted 0.1000 0.1000 0.0500 0.0500 0.0250
CosineAnnealingLR: by epochs 0.1000 0.0905 0.0655 0.0345 0.0095, converted 0.1000 0.0905 0.0655 0.0345 0.0095
ExponentialLR: by epochs 0.1000 0.0500 0.0250 0.0125 0.0063, converted 0.1000 0.0001 0.0000 0.0000 0.0000
PolyLR: by epochs 0.1000 0.0750 0.0500 0.0250 0.0000, converted 0.1000 0.0796 0.0592 0.0388 0.0184
PyTorch's PolynomialLR: 0.1000 0.0800 0.0600 0.0400 0.0200" ]
