#!/usr/bin/env bash
# torch 2.14.1 on x86 CPUs with AVX-512: in bf16, part of a convolution's weight gradient is whatever lay in the memory before.
#
# Guess: where a kernel with stride 2 sees a single pixel, only its middle meets that pixel: the gradient of the other taps is 0.
# Seen: in bf16 other taps are never written. Here the memory held 10,000 before, and gradients of 10,000 come out; in real training
# it is often no number. fp32 and fp16 are right, as are feature maps of two pixels a side, and bf16 where oneDNN has AVX2 alone.
# Such maps are no rarity: RetinaNet's coarsest level is computed by such a kernel from one pixel where an image has a side of 64.
set -euo pipefail
grep -qw avx512f /proc/cpuinfo || { echo "this CPU has no AVX-512: nothing to see"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1
cd "$folder"
cat > seen.py <<'PY'
import torch
from torch.nn.functional import conv2d

CHANNELS = 64
SIZES = [CHANNELS * CHANNELS * taps for taps in range(1, 10)]


def is_wrong(dtype, side):
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, dtype=dtype, requires_grad=True)
    output = conv2d(torch.randn(2, CHANNELS, side, side, dtype=dtype), weight, stride=2, padding=1)
    before = [torch.full((size,), 1e4, dtype=kept) for size in SIZES for kept in (torch.float32, dtype)]
    del before
    (gradient,) = torch.autograd.grad(output.sum(), weight)
    return not gradient.abs().max() < 100


torch.manual_seed(0)
torch.set_num_threads(1)
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    for side in (1, 2):
        print(dtype, side, "wrong" if any([is_wrong(dtype, side) for _ in range(20)]) else "right")
PY
seen=$(venv/bin/python -W ignore seen.py 2>/dev/null)
echo "$seen"
[ "$seen" = "torch.float32 1 right
torch.float32 2 right
torch.float16 1 right
torch.float16 2 right
torch.bfloat16 1 wrong
torch.bfloat16 2 right" ]
[ "$(ONEDNN_MAX_CPU_ISA=AVX2 venv/bin/python -W ignore seen.py 2>/dev/null | grep -c right)" = 6 ]
