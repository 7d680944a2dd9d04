#!/usr/bin/env bash
# torchscan 0.2.0: the receptive field of a layer is that of its own kernel, whatever comes before it.
#
# Guess: summary(..., receptive_field=True, effective_rf_stats=True) says of each layer of a sequence how many pixels of the image one of its outputs depends on, and the stride so far, as its
# documentation ("values follow module execution order") and its earlier versions have it.
# Seen: 3, 1, 2, 5, 3 where gradients say 3, 3, 4, 12, 16, and each layer's own stride. The column has the name it had, the values are called complete, and nothing is said: what a dilation
# does to a network's field can't be read from it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchscan==0.2.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from torch import nn
from torchscan import crawl_module

layers = nn.Sequential(
    nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, padding=2, dilation=2), nn.Conv2d(1, 1, 3, stride=2, padding=1)
).eval()
with torch.no_grad():
    for parameter in layers.parameters():
        parameter.fill_(1)
reports = [layer for layer in crawl_module(layers, (1, 64, 64))["layers"] if layer["depth"] == 1]
for depth, report in enumerate(reports, 1):
    image = torch.rand(1, 1, 64, 64, requires_grad=True)
    features = layers[:depth](image)
    middle = features[0, 0, features.shape[2] // 2, features.shape[3] // 2]
    field = int(torch.autograd.grad(middle, image)[0][0, 0].any(0).sum())
    said = {name: report["metrics"][name] for name in ("receptive_field", "effective_stride")}
    print(f"{report['type']}: gradients {field}, stride {64 // features.shape[3]}; torchscan", *(f"{metric['value']:.0f} ({metric['status']})" for metric in said.values()))
PY
)
echo "$seen"
[ "$seen" = "Conv2d: gradients 3, stride 1; torchscan 3 (complete) 1 (complete)
ReLU: gradients 3, stride 1; torchscan 1 (complete) 1 (complete)
AvgPool2d: gradients 4, stride 2; torchscan 2 (complete) 2 (complete)
Conv2d: gradients 12, stride 2; torchscan 5 (complete) 1 (complete)
Conv2d: gradients 16, stride 4; torchscan 3 (complete) 2 (complete)" ]
