#!/usr/bin/env bash
# OpenVINO 2026.4.1: converted from PyTorch, torchvision's roi_align with its default sampling_ratio gives zeros; softplus loses beta.
#
# Guess: convert_model of a module, without ONNX between, gives PyTorch's numbers to 1e-4, or says for which operation it has no rule, as it does for ten.
# Seen: so it is with most of 180 operations. roi_align's default, sampling_ratio=-1, means as many samples as fit a cell, as 0 does; OpenVINO keeps the -1 and
# takes no sample, so that all pooled features are 0. softplus is computed without beta and threshold, and bilinear interpolation to one pixel takes the
# first pixel in place of the middle. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 openvino==2026.4.1 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import openvino
import torch
from torch.nn import functional
from torchvision.ops import roi_align

core = openvino.Core()
image = torch.arange(81.0).reshape(1, 1, 9, 9) ** 1.5 / 100
regions = torch.tensor([[0, 0.0, 0.0, 8.0, 8.0]])


class Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


def tell(name, function):
    converted = openvino.convert_model(Module(function), example_input=image)
    found = core.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image.numpy()])[0]
    print(name, *(f"{each.flatten()[0]:.3f}" for each in (function(image), found)))


for samples in (2, 0, -1):
    tell(f"roi_align {samples}", lambda x: roi_align(x, regions, 2, sampling_ratio=samples, aligned=True))
tell("softplus", lambda x: functional.softplus(x[..., :1], beta=1.0))
tell("softplus beta=2", lambda x: functional.softplus(x[..., :1], beta=2.0))
for size in (2, 1):
    tell(f"interpolate {size}", lambda x: functional.interpolate(x, size=(size, size), mode="bilinear"))
PY
)
echo "$seen"
[ "$seen" = "roi_align 2 0.687 0.687
roi_align 0 0.687 0.687
roi_align -1 0.687 0.000
softplus 0.693 0.693
softplus beta=2 0.347 0.693
interpolate 2 0.747 0.747
interpolate 1 2.530 0.000" ]
