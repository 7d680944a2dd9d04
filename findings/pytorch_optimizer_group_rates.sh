#!/usr/bin/env bash
# pytorch_optimizer 4.1.0: ApolloDQN ignores the learning rates of parameter groups in its first 500 steps, and SRMM's first step takes 29 % off every weight, whatever the rate.
#
# Guess: a group with a tenth of the learning rate takes steps a tenth as long, and one with rate 0 stays where it is, where weights don't decay.
# Seen: so it is with most of its optimizers (two are shown). While ApolloDQN warms up, by default for 500 steps, it takes its rate from the one that the optimizer was made with, so that groups
# and schedulers change nothing. SRMM averages weights from zero, without a correction: its first step gives 2 ** -0.5 of each weight, and what was learnt before is lost. With MADGRAD a tenth
# of the rate is a step of 0.1 ** (2 / 3) = 0.22, since its cube root is of squares that have the rate once. FTRL divides by the rate and makes NaN of a group that has rate 0, as in a
# warm-up's first step. Nothing is said of any of it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 pytorch_optimizer==4.1.0
cd "$folder"
seen=$(venv/bin/python -W ignore - <<'PY'
import pytorch_optimizer
import torch

rates = (1.0, 0.1, 0.0)
for name in ("sgd", "adabelief", "apollodqn", "srmm", "madgrad", "ftrl"):
    weights = [torch.nn.Parameter(torch.full((1,), 4.0)) for _ in rates]
    groups = [{"params": [weight], "lr": rate} for weight, rate in zip(weights, rates, strict=True)]
    optimizer = pytorch_optimizer.load_optimizer(name)(groups, lr=1.0, weight_decay=0.0)
    for weight in weights:
        weight.grad = torch.ones(1)
    optimizer.step()
    print(name, *(f"{4 - weight.item():.4f}" for weight in weights))
PY
)
echo "$seen"
[ "$seen" = "sgd 1.0000 0.1000 0.0000
adabelief 1.1111 0.1111 0.0000
apollodqn 0.2010 0.2010 0.2010
srmm 1.8787 1.2423 1.1716
madgrad 0.1000 0.0215 0.0000
ftrl 1.0000 0.1000 nan" ]
