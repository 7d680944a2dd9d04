#!/usr/bin/env bash
# Torch-Pruning 1.6.1: where features are concatenated with the network's own input, or shuffled, the layer after them loses the weights of other channels than were pruned.
#
# Guess: pruning channels that are zero everywhere leaves what a network computes as it is.
# Seen: so it is for layers in a row, sums, and features concatenated with features. In `cat([image, features])` (U-Nets with a skip from the image, coordinates beside features) the image's
# channels aren't counted: of channels 1 and 6 pruned, the next layer loses inputs 1 and 6, an image's colour and a live feature, where it should lose 4 and 9; after a channel shuffle it
# loses inputs 1 and 6 too, which are others by then. Shapes fit, and nothing is said. A network with layers whose shapes don't fit (pixel_unshuffle, LayerNorm) fails as it runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.14.1 torch-pruning==1.6.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
import torch_pruning
from torch import nn


class Net(nn.Module):
    """Channels 1 and 6 of what `first` and ReLU make are zero."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d({"input": 11, "features": 16}.get(kind, 8), 6, 3)
        with torch.no_grad():
            self.first.weight[[1, 6]] = 0
            self.first.bias[[1, 6]] = -1

    def forward(self, x):
        features = self.first(x).relu()
        match self.kind:
            case "input":
                features = torch.cat([x, features], 1)
            case "features":
                features = torch.cat([features, 2 * features], 1)
            case "shuffle":
                features = features.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
        return self.second(features)


torch.manual_seed(0)
x = torch.randn(1, 3, 9, 9)
for kind in ("row", "features", "input", "shuffle"):
    net = Net(kind).eval()
    before = net(x)
    graph = torch_pruning.DependencyGraph().build_dependency(net, example_inputs=x)
    group = graph.get_pruning_group(net.first, torch_pruning.prune_conv_out_channels, idxs=[1, 6])
    lost = next(sorted(indices) for dependency, indices in group if dependency.target.module is net.second)
    group.prune()
    print(kind, "loses inputs", lost, "same output" if torch.allclose(net(x), before, atol=1e-5) else "other output")
PY
)
echo "$seen"
[ "$seen" = "row loses inputs [1, 6] same output
features loses inputs [1, 6, 9, 14] same output
input loses inputs [1, 6] other output
shuffle loses inputs [1, 6] other output" ]
