#!/usr/bin/env bash
# pytorch_optimizer 4.1.0: layers that are frozen at first take steps several times as long as the learning rate when they are thawed.
#
# Guess: a weight that gets its first gradient after 2,000 steps moves as it would in a new optimizer, as with PyTorch's AdamW: by the learning rate at most, where the gradient stays the same.
# Seen: steps are counted by parameter group and not by weight, so that the moments of a weight whose turn comes late begin at zero and are no longer corrected for it. The second is too small
# by more than the first: after 2,000 steps it moves by 6 times the rate with AdamP, Yogi and many others, by 14 with AdaBelief. Who freezes an encoder for the first
# epochs changes what it had learnt the most in the steps in which a low rate was to save it. A group of its own for what is frozen doesn't help: its steps are counted too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 pytorch_optimizer==4.1.0
cd "$folder"
seen=$(venv/bin/python -W ignore - <<'PY'
import pytorch_optimizer
import torch


def longest(name, frozen):
    """The longest step, in learning rates, of a weight that has no gradient for the first so many steps and then one that stays the same."""
    trained, thawed = (torch.nn.Parameter(torch.zeros(1, 1)) for _ in range(2))
    groups = [{"params": [trained]}, {"params": [thawed]}]
    optimizer = pytorch_optimizer.load_optimizer(name)(groups, lr=0.001, weight_decay=0.0)
    steps = []
    for step in range(frozen + 30):
        trained.grad = torch.ones(1, 1)
        thawed.grad = torch.ones(1, 1) if step >= frozen else None
        before = thawed.item()
        optimizer.step()
        steps.append(abs(thawed.item() - before) / 0.001)
    return max(steps)


for name in ("adamw", "adamp", "adabelief", "yogi"):
    print(name, *(f"{longest(name, frozen):.1f}" for frozen in (0, 100, 2000)))
PY
)
echo "$seen"
[ "$seen" = "adamw 1.0 1.0 1.0
adamp 1.0 2.1 6.1
adabelief 2.7 5.2 13.9
yogi 1.0 2.1 6.0" ]
