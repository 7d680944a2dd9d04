#!/usr/bin/env bash
# grad-cam 1.5.7: its ROAD scores remove the whole image at every percentile below the share of zeros in a map, and then don't depend on the map.
#
# Guess: ROADMostRelevantFirst(percentile=80) removes the 20 % of pixels that a map says matter most, 60 removes 40 %; a map of what the network looks at loses more score than another.
# Seen: what is kept are pixels below the percentile. Where a map is 0 in 70 % of the image, as maps after ReLU are, the percentiles below 70 are 0 and no pixel is below: all are filled in, from
# nothing, with zeros. A map of the object and one of a corner then have the same score, that of a black image; of ROADCombined's nine percentiles, 10 to 90, six are of
# that kind. Least relevant first removes at least all zeros, 70 %, where it was to remove 10 to 60 %.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 grad-cam==1.5.7 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import torch
from pytorch_grad_cam.metrics.road import ROADLeastRelevantFirst, ROADMostRelevantFirst

image = torch.full((1, 1, 20, 20), 0.5)
image[..., :4, :5] = 1  # the object


def network(images):
    """Score how bright the object's place is."""
    return images[..., :4, :5].mean((1, 2, 3))[:, None]


values = np.linspace(0.01, 1, 120, dtype=np.float32).reshape(6, 20)
maps = {}
for name, rows in (("object", slice(6)), ("elsewhere", slice(14, 20))):
    maps[name] = np.zeros((1, 20, 20), np.float32)
    maps[name][0, rows] = values[::-1, ::-1]  # 30 % of the image, the highest at its upper left
for percentile in (80, 60, 40, 20):
    print(f"percentile {percentile}: to be removed {100 - percentile} %", end="")
    for name, relevance in maps.items():
        removed = []
        for kind in (ROADMostRelevantFirst, ROADLeastRelevantFirst):
            torch.manual_seed(0)
            metric = kind(percentile)
            loss, changed = metric(image, relevance, [lambda score: score[0]], network, return_visualization=True)
            removed.append(f"{100 * (changed != image).float().mean():.0f} %, {loss[0]:+.2f}")
        print(f"; {name}: most {removed[0]}, least {removed[1]}", end="")
    print()
PY
)
echo "$seen"
[ "$seen" = "percentile 80: to be removed 20 %; object: most 20 %, -0.50, least 70 %, +0.00; elsewhere: most 20 %, +0.00, least 70 %, -0.50
percentile 60: to be removed 40 %; object: most 100 %, -1.00, least 70 %, +0.00; elsewhere: most 100 %, -1.00, least 70 %, -0.50
percentile 40: to be removed 60 %; object: most 100 %, -1.00, least 70 %, +0.00; elsewhere: most 100 %, -1.00, least 70 %, -0.50
percentile 20: to be removed 80 %; object: most 100 %, -1.00, least 80 %, +0.00; elsewhere: most 100 %, -1.00, least 80 %, -0.50" ]
