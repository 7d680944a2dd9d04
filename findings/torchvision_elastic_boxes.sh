#!/usr/bin/env bash
# torchvision 0.29.1: after an elastic deformation a box no longer encloses its object.
#
# Guess: v2.functional.elastic moves a box as it moves a mask: under a smooth displacement of at most 10 pixels the box of a disc
# of 61 pixels stays within 2 pixels of the moved disc's, in 95 of 100 drawings.
# Seen: half of the boxes are off by more than 4 pixels on their worst side, 1 in 20 by 7 or more, since only the four corners are moved, which
# lie outside the object; no warning. A constant displacement moves both alike. So who deforms images for a detector needs
# the objects' masks, and takes the boxes from these (masks_to_boxes).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - <<'PY'
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as transform

rows, columns = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
disc = tv_tensors.Mask(((rows - 100) ** 2 + (columns - 100) ** 2 <= 30**2)[None].to(torch.uint8))
box = tv_tensors.BoundingBoxes([[70, 70, 131, 131]], format="XYXY", canvas_size=(200, 200))


def difference(displacement):
    """The worst side's distance between the moved box and the box of the moved mask, in pixels."""
    _, y, x = torch.nonzero(transform.elastic(disc, displacement), as_tuple=True)
    truth = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1])
    return (transform.elastic(box, displacement)[0] - truth).abs().max().item()


constant = torch.zeros(1, 200, 200, 2)
constant[..., 0] = 10 * 2 / 200
print("constant", difference(constant))
torch.manual_seed(0)
worst = []
for _ in range(200):
    smooth = torch.nn.functional.interpolate(torch.randn(1, 2, 4, 4), size=(200, 200), mode="bicubic")
    worst.append(difference((smooth / smooth.abs().max() * 10 * 2 / 200).permute(0, 2, 3, 1)))
print("smooth", *torch.tensor(worst).float().quantile(torch.tensor([0.5, 0.95])).tolist())
PY
)
echo "$seen"
[ "$seen" = "constant 0
smooth 4.0 7.0" ]
