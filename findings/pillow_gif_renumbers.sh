#!/usr/bin/env bash
# Pillow 13.0.0: a grey mask saved as GIF comes back as index colours that are numbered anew.
#
# Guess: GIF keeps 256 values without loss, so the classes 0, 2 and 5 of a mask are 0, 2 and 5 when it is read again.
# Seen: the image is of mode P with the indices 0, 1 and 2; only the palette still holds the shades 0, 2 and 5. Two masks of one set number
# their classes differently where one of them lacks a class. In PNG the values stay.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>/dev/null <<'PY'
import numpy as np
from PIL import Image

for values in ([0, 2, 5], [0, 5, 5]):
    for ending in ("gif", "png"):
        Image.fromarray(np.array([values], np.uint8)).save(f"mask.{ending}")
        with Image.open(f"mask.{ending}") as mask:
            read = np.array(mask).tolist()[0]
            print(values, ending, mask.mode, read, np.array(mask.convert("L")).tolist()[0])
PY
)
echo "$seen"
[ "$seen" = "[0, 2, 5] gif P [0, 1, 2] [0, 2, 5]
[0, 2, 5] png L [0, 2, 5] [0, 2, 5]
[0, 5, 5] gif P [0, 1, 1] [0, 5, 5]
[0, 5, 5] png L [0, 5, 5] [0, 5, 5]" ]
