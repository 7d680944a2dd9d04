#!/usr/bin/env bash
# labelme2coco 0.2.6 and labelme2yolo 0.4.0: an object in two pieces becomes two, and of a mask labelme2yolo writes two corners, which YOLO's format takes for a box.
#
# Guess: two polygons of one label and one group_id, which is how labelme says that a car behind a pole is one, become one object: in COCO with two
# polygons, in YOLO with one polygon or box around both. A mask (labelme's AI tools draw them) becomes its outline, or is refused.
# Seen: both give two objects, for polygons and for boxes, so that half a car is to be found as a car. labelme2coco refuses masks; labelme2yolo with
# --output_format polygon writes the two corners of the mask's box as a polygon: a class and four numbers, so that every reader takes them for centre, width and
# height. Neither says a word.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet labelme2coco==0.2.6 sahi==0.12.8 labelme2yolo==0.4.0 numpy==2.4.6
cd "$folder"
cat > write.py <<'PY'
import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image


def write(folder, shapes):
    Path(folder).mkdir()
    Image.new("RGB", (200, 100)).save(f"{folder}/photo.png")
    same = {"flags": {}, "imageData": None, "imageHeight": 100, "imageWidth": 200, "imagePath": "photo.png"}
    Path(folder, "photo.json").write_text(json.dumps({"version": "5.5.0", "shapes": shapes, **same}))


def shape(kind, points, **more):
    return {"label": "car", "shape_type": kind, "points": points, "group_id": None, "flags": {}, **more}


left = [[120, 10], [140, 10], [140, 30], [120, 30]]
right = [[160, 10], [180, 10], [180, 30], [160, 30]]
write("pieces", [shape("polygon", points, group_id=7) for points in (left, right)])
down, across = np.mgrid[:30, :40]
png = io.BytesIO()
Image.fromarray(down < across).save(png, "PNG")
mask = base64.b64encode(png.getvalue()).decode()
write("mask", [shape("mask", [[20, 10], [59, 39]], mask=mask)])
PY
venv/bin/python write.py
venv/bin/python -W ignore -c "import labelme2coco; labelme2coco.convert('pieces', 'coco')" > /dev/null 2>&1
seen=$(
	venv/bin/python -c "import json; print(*(each['bbox'] for each in json.load(open('coco/dataset.json'))['annotations']))"
	for kind in bbox polygon; do
		rm -rf pieces/YOLODataset
		venv/bin/labelme2yolo --json_dir pieces --val_size 0 --output_format "$kind" > /dev/null 2>&1
		cat pieces/YOLODataset/labels/train/*.txt
	done
	venv/bin/labelme2yolo --json_dir mask --val_size 0 --output_format polygon > /dev/null 2>&1
	cat mask/YOLODataset/labels/train/*.txt
)
echo "$seen"
[ "$seen" = "[120.0, 10.0, 20.0, 20.0] [160.0, 10.0, 20.0, 20.0]
0 0.650000 0.200000 0.100000 0.200000
0 0.850000 0.200000 0.100000 0.200000
0 0.600000 0.100000 0.700000 0.100000 0.700000 0.300000 0.600000 0.300000
0 0.800000 0.100000 0.900000 0.100000 0.900000 0.300000 0.800000 0.300000
0 0.100000 0.100000 0.295000 0.390000" ]
