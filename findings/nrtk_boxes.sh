#!/usr/bin/env bash
# nrtk 1.1.0: boxes are elsewhere than their objects after a crop, a shift or a lens distortion, and after a rotation some have the class of another object.
#
# Guess: perturbers that take boxes return those that enclose the moved pixels, to a pixel and a half, each with the scores of its class that came with it.
# Seen: RandomCropPerturber takes from x what is cut off at the top, and from y what is cut off on the left. RandomTranslationPerturber cuts a box where the box itself ended before: moved right or down by its
# size or more, nothing is left of it. RadialDistortionPerturber undoes its distortion by the same polynomial with other signs: up to 18 of 160 pixels off. Where a rotation moves objects out of the image, the boxes that
# are left get the classes of the first ones.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "nrtk[albumentations,headless]==1.1.0" numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from nrtk.impls.perturb_image.geometric.random import RandomCropPerturber, RandomRotationPerturber, RandomTranslationPerturber
from nrtk.impls.perturb_image.optical import RadialDistortionPerturber
from smqtk_image_io.bbox import AxisAlignedBoundingBox


def compare(perturber, objects, **options):
    image = np.zeros((120, 160, 3), np.uint8)
    boxes = []
    for shade, (left, top, right, bottom) in objects.items():
        image[top:bottom, left:right] = shade
        boxes.append((AxisAlignedBoundingBox((left, top), (right, bottom)), {shade: 1.0}))
    moved, boxes = perturber(image=image, boxes=boxes, **options)
    print(type(perturber).__name__)
    for box, scores in boxes:
        print("  box of", *scores, np.round([*box.min_vertex, *box.max_vertex]).astype(int).tolist())
    for shade in objects:
        rows, columns = np.nonzero(abs(moved[..., 0].astype(int) - shade) < 3)
        if rows.size > 20:  # fewer are a smoothed edge
            print("  pixels of", shade, [int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)])


middle = (60, 50, 90, 70)
compare(RandomCropPerturber(crop_size=(80, 100), seed=0), {200: middle})
compare(RandomTranslationPerturber(seed=0), {200: middle}, max_translation_limit=(20, 20))
compare(RadialDistortionPerturber(k=[0.5, 0, 0]), {200: (10, 10, 40, 30)})
compare(RandomRotationPerturber(limit=(44.0, 46.0), seed=0), {100: (0, 0, 12, 12), 200: middle})
PY
)
echo "$seen"
[ "$seen" = "RandomCropPerturber
  box of 200 [35, 0, 65, 19]
  pixels of 200 [9, 25, 39, 45]
RandomTranslationPerturber
  box of 200 [74, 55, 90, 70]
  pixels of 200 [74, 55, 104, 75]
RadialDistortionPerturber
  box of 200 [45, 33, 60, 46]
  pixels of 200 [27, 22, 49, 37]
RandomRotationPerturber
  box of 100 [59, 46, 94, 81]
  pixels of 200 [60, 47, 93, 80]" ]
