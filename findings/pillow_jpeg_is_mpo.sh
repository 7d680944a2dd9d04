#!/usr/bin/env bash
# Pillow 13.0.0: a file that is opened as JPEG need not have the format JPEG.
#
# Guess: Image.open(file, formats=["JPEG"]) gives images whose `format` is "JPEG", and a still photo is not animated.
# Seen: the JPEG plugin hands a file with a multi-picture header on to the MPO plugin. `format` is "MPO", `is_animated` is True and
# `n_frames` is 2. Phones and cameras write such files as .jpg (a preview, or the second picture of a stereo pair, comes behind the
# photo), so a data set check that refuses "animated" images, or whose list of formats is compared with `format`, refuses photos.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0
cd "$folder"
seen=$(venv/bin/python - <<'PY'
from PIL import Image

photo, preview = Image.new("RGB", (64, 48), (200, 10, 10)), Image.new("RGB", (16, 12), (200, 10, 10))
photo.save("photo.jpg", format="MPO", save_all=True, append_images=[preview])
image = Image.open("photo.jpg", formats=["JPEG"])
print(image.format, image.is_animated, image.n_frames)
PY
)
echo "seen: $seen"
[ "$seen" = "MPO True 2" ]
