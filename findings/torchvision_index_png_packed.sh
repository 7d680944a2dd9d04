#!/usr/bin/env bash
# torchvision 0.29.1: decode_image gives the packed bytes of an index-colour PNG with few colours, not the indices.
#
# Guess: read unchanged, a mask of four colours is its palette's RGB, or the index of each pixel (0 to 3), one to a byte.
# Seen: Pillow writes so few colours with two bits a pixel, and the first bytes of each row hold four indices each (0b00011011 = 27 for
# 0, 1, 2, 3); what follows in the row is not of the file at all, and mode GRAY gives the colours' brightness. A mask of VOC with more
# than 16 colours has 8 bits a pixel and is read right, so code that was tried on VOC reads a user's masks of four classes wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 pillow==13.0.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>/dev/null <<'PY'
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

mask = Image.new("P", (8, 1))
mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
mask.putdata([0, 1, 2, 3, 0, 1, 2, 3])
mask.save("mask.png")
print(decode_image("mask.png")[0, 0, :2].tolist())
print(decode_image("mask.png", mode=ImageReadMode.GRAY)[0, 0].tolist())
mask.putpalette([value for colour in range(17) for value in (colour, 0, 0)])
mask.save("more.png")
print(decode_image("more.png")[0, 0].tolist())
PY
)
echo "$seen"
[ "$seen" = "[27, 27]
[0, 38, 75, 113, 0, 38, 75, 113]
[0, 1, 2, 3, 0, 1, 2, 3]" ]
