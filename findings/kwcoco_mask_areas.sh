#!/usr/bin/env bash
# kwcoco 0.9.1 and kwimage 0.12.0: the area that `kwcoco conform` adds to a mask is too small, and none for one that is a pixel wide; the box of a mask depends on how it is stored.
#
# Guess: area is the number of pixels, as COCO's own tools have it, and a mask's box is the same as an array and as RLE.
# Seen: the mask becomes a polygon through the middles of its outer pixels first: half a pixel is lost all around, 992 of the 1,056 pixels of 32 x 33, which makes a small object of a medium one
# (COCO draws the line at 1,024), 24 % of a disc of 37 pixels; a line of one pixel gets no area and no word. Mask.box() is a pixel less in width and height than COCO's for an array, and right for RLE.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet kwcoco==0.9.1 kwimage==0.12.0 numpy==2.4.6 pycocotools==2.0.11 opencv-python-headless==5.0.0.93 scikit-image==0.26.0
cd "$folder"
cat > masks.py <<'PY'
import json
import sys

import kwimage
import numpy as np
import pycocotools.mask as coco_masks

y, x = np.mgrid[:60, :80]
masks = {
    "32 x 33": (y >= 5) & (y < 37) & (x >= 5) & (x < 38),
    "disc": (y - 20) ** 2 + (x - 20) ** 2 <= 3.5**2,
    "line": (y == 10) & (x >= 5) & (x < 30),
}
encoded = [coco_masks.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks.values()]
if sys.argv[1] == "write":
    objects = [
        {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": {"size": [60, 80], "counts": rle["counts"].decode()}}
        for number, rle in enumerate(encoded, 1)
    ]
    images = [{"id": 1, "file_name": "a.png", "width": 80, "height": 60}]
    with open("objects.json", "w") as file:
        json.dump({"images": images, "annotations": objects, "categories": [{"id": 1, "name": "a"}]}, file)
else:
    with open("conformed.json") as file:
        objects = json.load(file)["annotations"]
    for (name, mask), rle, found in zip(masks.items(), encoded, objects, strict=True):
        array = kwimage.Mask(mask.astype(np.uint8), "c_mask")
        boxes = [[int(side) for side in form.box().data[2:]] for form in (array, array.to_bytes_rle())]
        print(f"{name}: area {found.get('area')} of {coco_masks.area(rle)}, box of the array {boxes[0]}, of its RLE {boxes[1]}")
PY
venv/bin/python -W ignore masks.py write
venv/bin/python -W ignore -m kwcoco conform --src objects.json --dst conformed.json > /dev/null 2>&1
seen=$(venv/bin/python -W ignore masks.py read 2> /dev/null)
echo "$seen"
[ "$seen" = "32 x 33: area 992.0 of 1056, box of the array [32, 31], of its RLE [33, 32]
disc: area 28.0 of 37, box of the array [6, 6], of its RLE [7, 7]
line: area None of 25, box of the array [24, 0], of its RLE [25, 1]" ]
