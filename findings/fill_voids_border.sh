#!/usr/bin/env bash
# fill_voids 2.1.2: in three dimensions it fills background that lies at the border of the volume, where two of its faces meet.
#
# Guess: what can be reached from the border of a volume is no void and stays, as in scipy.ndimage.binary_fill_holes: of a volume of 2 x 2 x 3 nothing is ever filled, since each of its
# voxels is at the border.
# Seen: of the 4,096 volumes of that size 32 are changed; of volumes of 24 x 32 x 40 with blobs, as segmentations cut out of larger ones are, one in twenty: notches in the
# foreground that open only at an edge of the volume are filled. In two dimensions it is as said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fill-voids==2.1.2 numpy==2.4.6 scipy==1.17.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from fill_voids import fill
from scipy import ndimage

volumes = [(number >> np.arange(12) & 1).reshape(2, 2, 3).astype(bool) for number in range(2**12)]
changed = [volume for volume in volumes if (fill(volume.copy()) != volume).any()]
by_scipy = [volume for volume in volumes if (ndimage.binary_fill_holes(volume) != volume).any()]
print(f"2 x 2 x 3: {len(changed)} changed, by scipy {len(by_scipy)}")
print(changed[0].astype(int).tolist(), "filled at", np.argwhere(fill(changed[0].copy()) & ~changed[0]).tolist())

draw = np.random.default_rng(0)
blobs = [ndimage.gaussian_filter(draw.normal(size=(24, 32, 40)), 1) > 0 for _ in range(60)]
print(f"24 x 32 x 40: {sum((fill(volume.copy()) != ndimage.binary_fill_holes(volume)).any() for volume in blobs)} of 60 differ")
PY
)
echo "$seen"
[ "$seen" = "2 x 2 x 3: 32 changed, by scipy 0
[[[1, 0, 1], [0, 1, 0]], [[0, 1, 0], [0, 0, 0]]] filled at [[0, 0, 1]]
24 x 32 x 40: 3 of 60 differ" ]
