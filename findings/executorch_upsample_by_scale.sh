#!/usr/bin/env bash
# ExecuTorch 1.5.1: delegated to XNNPACK, bilinear resizing by a scale factor is resizing to a size: other numbers where the size isn't the map's times the scale.
#
# Guess: interpolate(scale_factor=1.5) has PyTorch's numbers in ExecuTorch's portable kernels and in XNNPACK, for maps of odd sizes too.
# Seen: the portable kernels have. XNNPACK, which takes over whatever it can when a network is lowered as the documentation shows, steps by input / output instead of by 1 / 1.5: with 7 pixels
# enlarged to 10 samples move by up to 0.3 pixels, halved by up to 0.8. Nothing is said, and the same network without the delegate is right. Resizing to a size, and by whole factors, agrees.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.14.1 torchao==0.18.0 executorch==1.5.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY' | grep ^by
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


class Resize(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, x):
        return torch.nn.functional.interpolate(x, mode="bilinear", align_corners=False, **self.options)


ramp = torch.arange(7.0).expand(1, 1, 7, 7).contiguous()
for options in ({"scale_factor": 2}, {"size": (10, 10)}, {"scale_factor": 1.5}, {"scale_factor": 0.5}):
    network = Resize(**options)
    rows = [network(ramp)]
    for partitioner in ([], [XnnpackPartitioner()]):
        program = to_edge_transform_and_lower(torch.export.export(network, (ramp,)), partitioner=partitioner).to_executorch()
        rows.append(Runtime.get().load_program(program.buffer).load_method("forward").execute((ramp,))[0])
    print("by", options, *([round(value, 2) for value in row[0, 0, 0, -3:].tolist()] for row in rows))
PY
)
echo "$seen"
[ "$seen" = "by {'scale_factor': 2} [5.25, 5.75, 6.0] [5.25, 5.75, 6.0] [5.25, 5.75, 6.0]
by {'size': (10, 10)} [4.75, 5.45, 6.0] [4.75, 5.45, 6.0] [4.75, 5.45, 6.0]
by {'scale_factor': 1.5} [4.5, 5.17, 5.83] [4.5, 5.17, 5.83] [4.75, 5.45, 6.0]
by {'scale_factor': 0.5} [0.5, 2.5, 4.5] [0.5, 2.5, 4.5] [0.67, 3.0, 5.33]" ]
