#!/usr/bin/env bash
# globox 2.9.0: turned rectangles of CVAT have the box that they would have if they weren't turned; polygons of labelme and CVAT are left out.
#
# Guess: from_cvat of a rectangle with a rotation gives the bounds of the turned one, or refuses it; of from_labelme polygons and circles become their bounds,
# or are refused by name.
# Seen: the attribute `rotation` is not read: a rectangle of 40 x 20 that was turned by 90 degrees is still 40 wide. Polygons and circles are missing, so that
# detectors learn, and are scored, as if nothing were there. Nothing is said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet globox==2.9.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>&1 <<'PY'
import json
from pathlib import Path

from globox import AnnotationSet


def show(name, annotations):
    boxes = [tuple(round(each) for each in (box.xmin, box.ymin, box.xmax, box.ymax)) for image in annotations for box in image.boxes]
    print(name, *boxes)


box = '<box label="dog" occluded="0" xtl="20" ytl="30" xbr="60" ybr="50" z_order="0"{}/>'
polygon = '<polygon label="dog" occluded="0" points="20,30;60,30;60,50" z_order="0"/>'
for name, shape in {"CVAT, box": box.format(""), "CVAT, turned": box.format(' rotation="90.00"'), "CVAT, polygon": polygon}.items():
    image = f'<image id="0" name="a.png" width="200" height="100">{shape}</image>'
    Path("annotations.xml").write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    show(name, AnnotationSet.from_cvat("annotations.xml"))
Path("labelme").mkdir()
for kind, points in {
    "rectangle": [[20, 30], [60, 50]],
    "polygon": [[20, 30], [60, 30], [60, 50]],
    "circle": [[40, 40], [50, 40]],
}.items():
    shape = {"label": "dog", "points": points, "shape_type": kind, "group_id": None, "flags": {}}
    same = {"version": "5.5.0", "flags": {}, "imagePath": "a.png", "imageData": None, "imageHeight": 100, "imageWidth": 200}
    Path("labelme/a.json").write_text(json.dumps({"shapes": [shape], **same}))
    show(f"labelme, {kind}", AnnotationSet.from_labelme("labelme"))
PY
)
echo "$seen"
[ "$seen" = "CVAT, box (20, 30, 60, 50)
CVAT, turned (20, 30, 60, 50)
CVAT, polygon
labelme, rectangle (20, 30, 60, 50)
labelme, polygon
labelme, circle" ]
