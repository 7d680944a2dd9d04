#!/usr/bin/env bash
# lightning-fabric 2.6.6: "bf16-mixed" also casts what is passed to a module, boxes of a detector with it.
#
# Guess: mixed precision is autocast around the forward pass: operators choose their precision, arguments stay as they are.
# Seen: the wrapper of `setup` casts every float tensor among the arguments to bf16 before the module sees it. bf16 has 8 bits of
# precision: a box (257, 300.5, 515, 601) arrives as (256, 300, 516, 600), so a detector learns from other boxes than the data set's,
# and anchors match otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 lightning-fabric==2.6.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>/dev/null <<'PY'
import torch
from lightning_fabric import Fabric


class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, image, boxes):
        print(boxes.dtype, boxes[0].tolist())
        return self.conv(image)


for precision in ("32-true", "bf16-mixed"):
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    fabric.launch()
    fabric.setup(Detector())(torch.zeros(1, 3, 8, 8), torch.tensor([[257.0, 300.5, 515.0, 601.0]]))
PY
)
echo "$seen"
[ "$seen" = "torch.float32 [257.0, 300.5, 515.0, 601.0]
torch.bfloat16 [256.0, 300.0, 516.0, 600.0]" ]
