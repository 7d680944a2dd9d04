#!/usr/bin/env bash
# OpenVINO 2026.4.1: DeformableConvolution with groups of weights is computed by a reference implementation, hundreds of times slower.
#
# Guess: with group=2 there are half the multiplications, so it takes no longer than with group=1; offset groups (deformable_group) change little.
# Seen: group=1, with one or two offset groups, runs in compiled code (jit_*); group=2, 4 or the number of channels in ref_*, with no word of it. For 64
# channels at 32x32 that was 470 ms in place of 1.1 ms. Only the execution type is checked here, and that it is 20 times slower.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1
cd "$folder"
seen=$(venv/bin/python -W ignore - <<'PY'
import sys

import numpy as np
import openvino
from openvino import opset8

core, rng, channels, side = openvino.Core(), np.random.default_rng(0), 64, 32


def measured(group, deformable_group):
    """The kind of code, and the least of five times in seconds."""
    image = rng.normal(size=(1, channels, side, side)).astype(np.float32)
    offset = rng.normal(size=(1, 18 * deformable_group, side, side)).astype(np.float32)
    weight = rng.normal(size=(channels, channels // group, 3, 3)).astype(np.float32)
    inputs = [opset8.parameter(list(each.shape), np.float32) for each in (image, offset)]
    node = opset8.deformable_convolution(
        *inputs, opset8.constant(weight), [1, 1], [1, 1], [1, 1], [1, 1], group=group, deformable_group=deformable_group
    )
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True}
    request = core.compile_model(openvino.Model([node], inputs), "CPU", settings).create_infer_request()
    times = []
    for _ in range(5):
        request.infer([image, offset])
        (layer,) = [each for each in request.profiling_info if each.node_type == "DeformableConvolution"]
        times.append(layer.real_time.total_seconds())
    return layer.exec_type.split("_")[0], min(times)


found = {case: measured(*case) for case in [(1, 1), (1, 2), (2, 1), (4, 4), (64, 1)]}
for (group, offsets), (kind, seconds) in found.items():
    print(f"group={group} deformable_group={offsets}: {kind}")
    print(f"group={group} deformable_group={offsets}: {1000 * seconds:.2f} ms", file=sys.stderr)
print("20 times slower:", found[2, 1][1] > 20 * found[1, 1][1])
PY
)
echo "$seen"
[ "$seen" = "group=1 deformable_group=1: jit
group=1 deformable_group=2: jit
group=2 deformable_group=1: ref
group=4 deformable_group=4: ref
group=64 deformable_group=1: ref
20 times slower: True" ]
