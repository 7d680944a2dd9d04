#!/usr/bin/env bash
# litert-torch 0.10.0: interpolate(mode="nearest") becomes another rule of nearest, a scale factor is passed over, and the indices of maxima are all 0.
#
# Guess: what litert_torch.convert gives computes what PyTorch does, as it does for some 120 other functions and settings tried (grid_sample, adaptive pools, padding...), or is refused.
# Seen: "nearest" is PyTorch's "nearest-exact" in LiteRT: the pixel whose middle is nearest, not floor(i * in / out). The two are one where a map is enlarged by a whole number, and so in a feature
# pyramid whose sizes are doubled exactly; where a map of 13 is enlarged to 25, 6 rows and 6 columns of 25 are their neighbours. bilinear with a scale_factor takes the quotient of the sizes in its place.
# max_pool2d(return_indices=True) has right maxima and indices of 0, so that max_unpool2d (SegNet) puts every value into the first pixel; a comment in its source calls them dummies. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6 litert-torch==0.10.0 ai-edge-litert==2.3.0 litert-converter==0.5.0
cd "$folder"
cat > seen.py <<'PY'
import litert_torch
import numpy as np
import torch
from torch.nn import functional


class Network(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def computed(function, x):
    return np.asarray(litert_torch.convert(Network(function).eval(), (x,))(x))


def resized(**arguments):
    return lambda x: functional.interpolate(x, **arguments)


for here, there in ((6, 12), (6, 9), (13, 25)):
    x = torch.arange(float(here)).expand(1, 1, here, here).contiguous()
    found = computed(resized(size=(there, there), mode="nearest"), x)[0, 0, 0]
    same = [mode for mode in ("nearest", "nearest-exact") if np.array_equal(found, resized(size=(there, there), mode=mode)(x)[0, 0, 0].numpy())]
    off = int((found != resized(size=(there, there), mode="nearest")(x)[0, 0, 0].numpy()).sum())
    print("RESULT", f"nearest {here} -> {there}: {' and '.join(same)}, {off} of {there} pixels differ")

x = torch.rand(1, 1, 9, 8, generator=torch.Generator().manual_seed(0))
found = computed(resized(scale_factor=1.7, mode="bilinear"), x)
for name, expected in (("scale_factor=1.7", resized(scale_factor=1.7, mode="bilinear")(x)), ("size", resized(size=found.shape[2:], mode="bilinear")(x))):
    print("RESULT", f"bilinear with scale_factor=1.7 is PyTorch's with {name}: {np.allclose(found, expected.numpy(), atol=1e-4)}")

x = torch.arange(16.0).reshape(1, 1, 4, 4)
for place, name in enumerate(("maxima", "indices")):
    function = lambda x: functional.max_pool2d(x, 2, return_indices=True)[place]  # noqa: E731
    print("RESULT", name, function(x).flatten().int().tolist(), "are", computed(function, x).flatten().astype(int).tolist())
PY
seen=$(venv/bin/python -W ignore seen.py 2> /dev/null | sed -n 's/^RESULT //p')
echo "$seen"
[ "$seen" = "nearest 6 -> 12: nearest and nearest-exact, 0 of 12 pixels differ
nearest 6 -> 9: nearest-exact, 3 of 9 pixels differ
nearest 13 -> 25: nearest-exact, 6 of 25 pixels differ
bilinear with scale_factor=1.7 is PyTorch's with scale_factor=1.7: False
bilinear with scale_factor=1.7 is PyTorch's with size: True
maxima [5, 7, 13, 15] are [5, 7, 13, 15]
indices [5, 7, 13, 15] are [0, 0, 0, 0]" ]
