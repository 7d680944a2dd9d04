#!/usr/bin/env bash
# heavyball 3.2.1: the first step of Scion overwrites all weights, pretrained ones too, by random orthogonal ones, and biases and scales of normalization by 0; SFAdamW makes NaN of weights with rate 0.
#
# Guess: an optimizer's first step moves weights by at most a few times the learning rate; with a rate of 0 weights stay. (Scion's paper and its authors' code initialize a network by a method
# of its own, which is called before training or isn't.)
# Seen: of a network's weights nothing is left after Scion's first step, whatever the rate: those before it don't correlate with those after it, two networks that differ have the same weights then, and
# those of batch normalization are 0, so that no gradient comes through. Its help says nothing of it. SFAdamW divides the rate's square by the sum of such squares, which is 0 / 0 where a rate is
# 0, as in a group that is to stay or in the first step of a warm-up from 0; schedulefree, by that method's authors, takes 0 for it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 heavyball==3.2.1 schedulefree==1.4.1 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import heavyball
import schedulefree
import torch
from torch import nn

heavyball.utils.compile_mode = None  # the same, without a compiler


def stepped(build, rate, seed=0):
    """A convolution and batch normalization before and after one step."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16))
    before = [weight.detach().clone() for weight in layers.parameters()]
    optimizer = build(layers.parameters(), lr=rate)
    if hasattr(optimizer, "train"):
        optimizer.train()
    layers(torch.randn(2, 8, 9, 9)).square().sum().backward()
    optimizer.step()
    return before, [weight.detach() for weight in layers.parameters()]


for name, build in (("AdamW", heavyball.AdamW), ("Muon", heavyball.Muon), ("Scion", heavyball.Scion)):
    before, after = stepped(build, 1e-6)
    _, of_another = stepped(build, 1e-6, seed=1)
    like = torch.corrcoef(torch.stack([before[0].flatten(), after[0].flatten()]))[0, 1]
    alike = torch.corrcoef(torch.stack([of_another[0].flatten(), after[0].flatten()]))[0, 1]
    print(f"{name}, rate 1e-6: correlation with the weights before {abs(like):.1f}, with those of another network {abs(alike):.1f}, largest scale {after[2].abs().max():.1f}")
for name, build in (("heavyball's SFAdamW", heavyball.SFAdamW), ("schedulefree's AdamWScheduleFree", schedulefree.AdamWScheduleFree)):
    before, after = stepped(build, 0.0)
    print(f"{name}, rate 0: moved by {(after[0] - before[0]).abs().max():.1f}")
PY
)
echo "$seen"
[ "$seen" = "AdamW, rate 1e-6: correlation with the weights before 1.0, with those of another network 0.0, largest scale 1.0
Muon, rate 1e-6: correlation with the weights before 1.0, with those of another network 0.0, largest scale 1.0
Scion, rate 1e-6: correlation with the weights before 0.0, with those of another network 1.0, largest scale 0.0
heavyball's SFAdamW, rate 0: moved by nan
schedulefree's AdamWScheduleFree, rate 0: moved by 0.0" ]
