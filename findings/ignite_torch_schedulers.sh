#!/usr/bin/env bash
# ignite 0.5.5: LRScheduler, attached as its help shows, sets other learning rates than PyTorch's scheduler that it wraps: after a warm-up of LinearLR a tenth, for the whole training.
#
# Guess: LRScheduler(scheduler) on Events.ITERATION_STARTED gives each iteration the rate that the scheduler gives it where step() is called after each.
# Seen: so it is for schedulers that compute a rate from the first one (MultiStepLR, StepLR, OneCycleLR, LambdaLR). The handler asks for a rate before the first iteration too, and those that
# compute it from the last one are then a step ahead (ExponentialLR, PolynomialLR), begin above the first rate (CosineAnnealingLR), or apply their first factor twice: a warm-up by LinearLR or
# ConstantLR from 0.1 to 1 goes from 0.01 to 0.1 and stays there. No warning: there is one for use_legacy=True on Events.ITERATION_COMPLETED, whose rates are PyTorch's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 pytorch-ignite==0.5.5 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from ignite.engine import Engine, Events
from ignite.handlers import LRScheduler
from torch.optim import lr_scheduler

ITERATIONS = 8
schedulers = {
    "MultiStepLR": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 4], 0.5),
    "LinearLR": lambda optimizer: lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 4),
    "ConstantLR": lambda optimizer: lr_scheduler.ConstantLR(optimizer, 0.1, 4),
    "PolynomialLR": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, ITERATIONS),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, ITERATIONS),
}


def trained(scheduler, wrap=None, event=None):
    """The learning rate of each iteration."""
    optimizer, rates = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0), []
    scheduler = scheduler(optimizer)

    def update(engine, batch):
        rates.append(round(optimizer.param_groups[0]["lr"], 3))
        optimizer.step()
        if wrap is None:
            scheduler.step()

    trainer = Engine(update)
    if wrap is not None:
        trainer.add_event_handler(event, wrap(scheduler))
    trainer.run(range(ITERATIONS))
    return rates


for name, scheduler in schedulers.items():
    alone, wrapped = trained(scheduler), trained(scheduler, LRScheduler, Events.ITERATION_STARTED)
    assert trained(scheduler, lambda inner: LRScheduler(inner, use_legacy=True), Events.ITERATION_COMPLETED) == alone
    print(name, "the same" if wrapped == alone else f"PyTorch {alone} ignite {wrapped}")
PY
)
echo "$seen"
[ "$seen" = "MultiStepLR the same
LinearLR PyTorch [0.1, 0.325, 0.55, 0.775, 1.0, 1.0, 1.0, 1.0] ignite [0.01, 0.033, 0.055, 0.078, 0.1, 0.1, 0.1, 0.1]
ConstantLR PyTorch [0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0] ignite [0.01, 0.01, 0.01, 0.01, 0.1, 0.1, 0.1, 0.1]
PolynomialLR PyTorch [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125] ignite [0.889, 0.778, 0.667, 0.556, 0.444, 0.333, 0.222, 0.111]
ExponentialLR PyTorch [1.0, 0.5, 0.25, 0.125, 0.062, 0.031, 0.016, 0.008] ignite [0.5, 0.25, 0.125, 0.062, 0.031, 0.016, 0.008, 0.004]
CosineAnnealingLR PyTorch [1.0, 0.962, 0.854, 0.691, 0.5, 0.309, 0.146, 0.038] ignite [1.04, 0.962, 0.854, 0.691, 0.5, 0.309, 0.146, 0.038]" ]
