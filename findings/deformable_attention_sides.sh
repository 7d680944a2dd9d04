#!/usr/bin/env bash
# deformable-attention 0.0.20: on maps that aren't square DeformableAttention2D samples beside the map, and DeformableAttention3D samples a volume with its axes exchanged.
#
# Guess: without offsets, keys and values are sampled at a plain grid over the map, whatever its sides: in cells of 4 pixels, their middles, or from corner to corner.
# Seen: x is divided by the height and y by the width (of the grid): on a map of 16 x 64, 12 of 16 columns are sampled beyond its right side, as zeros, and rows from the top fifth alone. Of 64 x 16
# it is the other way around. The grid reaches from -1 to 1 as with align_corners=True, which grid_sample isn't told: what is sampled at a side counts half and at a corner a quarter, in
# square maps too. In 3-D the frame comes first where grid_sample takes x: what stands at (frame, row, column) is of (column, row, frame). Offsets don't mend it: they are 4 cells at most. No error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.14.1 einops==0.8.2 deformable-attention==0.0.20
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from deformable_attention import DeformableAttention2D, DeformableAttention3D


def sampled(network, *sides):
    """Where the features are from that become values, along each side (in pixels from the first edge), and with what weight."""
    features = torch.zeros(1, 8, *sides)
    for axis, side in enumerate(sides):
        features[0, axis] = (torch.arange(side) + 0.5).view([-1 if other == axis else 1 for other in range(len(sides))])
    features[0, len(sides)] = 1
    seen = []
    network.to_v.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0][0].double()))
    with torch.no_grad():
        network.eval()(features)
    weight = seen[0][len(sides)]
    return seen[0][: len(sides)] / weight, weight


for sides in ((32, 32), (16, 64), (64, 16)):
    places, weight = sampled(DeformableAttention2D(dim=8, dim_head=4, heads=2, offset_groups=1, offset_scale=0), *sides)
    rows, columns = ([f"{place:.0f}" for place in line if place == place] for line in (places[0, :, 1], places[1, 1]))
    print(*sides, "rows", *rows, "columns", *columns, "beside the map", f"{(weight == 0).double().mean():.0%}", "weight of a corner", f"{weight[0, 0]:.2f}")

places, _ = sampled(DeformableAttention3D(dim=8, dim_head=4, heads=2, offset_groups=1, offset_scale=(0, 0, 0), downsample_factor=(2, 2, 2), offset_kernel_size=(4, 4, 4)), 8, 8, 8)
print("3-D, (frame 0, row 1, column 3) is of", *(f"{place:.1f}" for place in places[:, 0, 1, 3]))
PY
)
echo "$seen"
[ "$seen" = "32 32 rows 0 5 9 14 18 23 27 32 columns 0 5 9 14 18 23 27 32 beside the map 0% weight of a corner 0.25
16 64 rows 0 1 2 3 columns 0 21 43 64 beside the map 75% weight of a corner 0.25
64 16 rows 0 21 43 64 columns 0 1 2 3 beside the map 75% weight of a corner 0.25
3-D, (frame 0, row 1, column 3) is of 7.5 2.7 0.5" ]
