#!/usr/bin/env bash
# mahotas 1.4.19: majority_filter sets a pixel where 4 of 9 are set, 12 of 25 or 24 of 49: masks that are smoothed by it grow.
#
# Guess: a pixel is set where more than half of the square around it is, as the help says, so that the filter of the opposite mask is the opposite of the filtered mask.
# Seen: half of an odd number is rounded down, and that many suffice. Of noise in which every other pixel is set 75 % is set afterwards, where a majority leaves 50 %; the corners of a square stay, where
# a majority cuts them; and the filtered background and object overlap.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mahotas==1.4.19 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import mahotas
import numpy as np

for side in (3, 5, 7):
    least = None
    for number in range(side**2, 0, -1):
        square = np.zeros((3 * side, 3 * side), bool)
        square[side : 2 * side, side : 2 * side] = (np.arange(side**2) < number).reshape(side, side)
        if mahotas.majority_filter(square, side)[3 * side // 2, 3 * side // 2]:
            least = number
    print(f"{least} of {side**2}")
noise = np.random.default_rng(0).random((1000, 1000)) < 0.5
inside = (slice(1, -1), slice(1, -1))
windows = np.lib.stride_tricks.sliding_window_view(noise, (3, 3)).sum((2, 3))
filtered, opposite = mahotas.majority_filter(noise, 3)[inside], mahotas.majority_filter(~noise, 3)[inside]
print(f"noise {noise.mean():.2f}, filtered {filtered.mean():.2f}, a majority {(windows >= 5).mean():.2f}, both {(filtered & opposite).mean():.2f}")
PY
)
echo "$seen"
[ "$seen" = "4 of 9
12 of 25
24 of 49
noise 0.50, filtered 0.75, a majority 0.50, both 0.49" ]
