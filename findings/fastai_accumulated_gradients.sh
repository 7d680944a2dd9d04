#!/usr/bin/env bash
# fastai 2.8.12: GradientAccumulation steps by a multiple of the mean gradient where batches don't divide its n_acc, and begins a fit with what the one before left over.
#
# Guess: with GradientAccumulation(n_acc) a step is that of one batch of all images since the step before, at least n_acc of them; batches as large as n_acc train as without it; each fit begins anew.
# Seen: each batch's mean is multiplied by its size over n_acc, whatever number of images the step comes to: with batches of 64 and the default of 32 every step is twice as large, with batches of 12
# (three of them make a step) 36 / 32 times. Images at the end that are fewer than n_acc wait in the gradients; the next fit counts from 0, and its first step has them too, as in fine_tune, which is two fits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 fastai==2.8.12 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from fastai.basics import SGD, DataLoader, DataLoaders, Learner
from fastai.callback.training import GradientAccumulation
from torch import nn

torch.manual_seed(0)
images = torch.randn(192, 3)
truth = images.sum(1, keepdim=True)


def trained(number, size, callbacks, fits=1):
    """The network after some fits of one epoch each, and what it was before the last of them."""
    network = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(network.weight)
    loader = DataLoader(list(zip(images[:number], truth[:number])), bs=size)
    learner = Learner(DataLoaders(loader, loader), network, loss_func=nn.MSELoss(), opt_func=SGD)
    with learner.no_bar(), learner.no_logging():
        for _ in range(fits):
            before = network.weight.detach().clone()
            learner.fit(1, 0.01, wd=0.0, cbs=callbacks)
    return network.weight.detach() - before, before


def step(weight, number):
    """The step of SGD for one batch of the first images."""
    error = images[:number] @ weight.T - truth[:number]
    return -0.01 * 2 * (error * images[:number]).mean(0, keepdim=True)


for size, total in ((64, 64), (32, 32), (12, 36), (8, 32)):
    moved, before = trained(total, size, [GradientAccumulation()])
    print(f"batches of {size}, a step after {total} images: {(moved / step(before, total)).mean():.3f} of a batch's step")
for number in (32, 40):
    moved, before = trained(number, 8, [GradientAccumulation()], fits=2)
    print(f"{number} images, the second fit's step: {(moved / step(before, 32)).mean():.3f} of a batch's step")
PY
)
echo "$seen"
[ "$seen" = "batches of 64, a step after 64 images: 2.000 of a batch's step
batches of 32, a step after 32 images: 1.000 of a batch's step
batches of 12, a step after 36 images: 1.125 of a batch's step
batches of 8, a step after 32 images: 1.000 of a batch's step
32 images, the second fit's step: 1.000 of a batch's step
40 images, the second fit's step: 1.241 of a batch's step" ]
