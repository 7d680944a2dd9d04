#!/usr/bin/env bash
# pytorch-toolbelt 0.8.0: MultiscaleTTA stretches the maps that it averages, by up to 1.5 pixels, and d4_labels_deaugment leaves one of eight views out and counts another twice.
#
# Guess: of a network that gives its input back, a map that was scaled and scaled back is where it was; and each of eight views counts an eighth.
# Seen: maps are scaled by align_corners=False, the wrapper's default, and back by True, whatever the wrapper was told: at a quarter of the size they are 1.5 pixels off at the left and -1.5 at
# the right. (Where the network gives a dictionary and a function is named for each key, it is passed on.) Of class scores of eight turned and mirrored views the sixth doesn't count, and the
# seventh counts twice. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 opencv-python-headless==5.0.0.93
"$folder/venv/bin/pip" install --quiet --no-deps pytorch-toolbelt==0.8.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from pytorch_toolbelt.inference.tta import MultiscaleTTA, d4_labels_deaugment, ms_image_deaugment


class Named(torch.nn.Module):
    """The input as the scores of a network that gives a dictionary."""

    def forward(self, images):
        return {"mask": images}


columns = torch.arange(64.0).expand(1, 1, 64, 64)
for change in (-32, -48):
    alone = MultiscaleTTA(torch.nn.Identity(), [change], align_corners=False)(columns)
    named = MultiscaleTTA(Named(), [change], align_corners=False, deaugment_fn={"mask": ms_image_deaugment})(columns)["mask"]
    for name, found in (("a map", alone), ("a named map", named)):
        print(64 + change, name, [round(value, 2) for value in (found - columns)[0, 0, 32, 4:64:11].tolist()])
print("views count", [round(8 * d4_labels_deaugment(view[:, None]).item(), 2) for view in torch.eye(8)])
PY
)
echo "$seen"
[ "$seen" = "32 a map [0.44, 0.26, 0.09, -0.09, -0.26, -0.44]
32 a named map [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
16 a map [1.31, 0.79, 0.26, -0.26, -0.79, -1.31]
16 a named map [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
views count [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 1.0]" ]
