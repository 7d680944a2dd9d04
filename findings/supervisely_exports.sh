#!/usr/bin/env bash
# supervisely 6.74.51: in COCO its boxes are a pixel smaller than the masks beside them, in YOLO up to a pixel up and left of them; polygons lack half a pixel all around.
#
# Guess: an object drawn as a rectangle, a polygon or a bitmap on the same pixels has one box in COCO and YOLO, which encloses these pixels, and its area is their number.
# Seen: both ends of a rectangle are pixels of it, and so area and width in pixels are computed, but COCO's width and height are the difference of the ends, and the middle that YOLO gets is that
# of the first and last pixel, cut to a whole number, beside the full width. The box of an object of 4 x 4 pixels has an IoU of 0.56 with the right one in COCO, and 0.39 in YOLO.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet supervisely==6.74.51 numpy==2.2.6 pycocotools==2.0.11
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import pycocotools.mask as coco_masks
import supervisely as sly

height, width = 40, 50
pixels = np.zeros((height, width), bool)
pixels[10:14, 30:34] = True
corners = [sly.PointLocation(row, column) for row, column in ((10, 30), (10, 33), (13, 33), (13, 30))]


def overlap(box):
    """IoU of x, y, width, height with the box of the pixels."""
    return round(float(coco_masks.iou([box], [[30, 10, 4, 4]], [0])[0, 0]), 2)


for shape in (sly.Bitmap(pixels), sly.Rectangle(10, 30, 13, 33), sly.Polygon(corners)):
    kind = type(shape)
    annotation = sly.Annotation((height, width), [sly.Label(shape, sly.ObjClass("cell", kind))])
    (coco,), *_ = annotation.to_coco(coco_image_id=1, class_mapping={"cell": 1})
    (line,) = annotation.to_yolo(class_names=["cell"], task_type="detect")
    x, y, w, h = (float(share) * side for share, side in zip(line.split()[1:], (width, height, width, height), strict=True))
    yolo = [x - w / 2, y - h / 2, w, h]
    print(kind.__name__, "COCO", coco["bbox"], overlap(coco["bbox"]), f"area {coco['area']:.0f}", "YOLO", [round(side, 2) for side in yolo], overlap(yolo))
PY
)
echo "$seen"
[ "$seen" = "Bitmap COCO [30, 10, 3, 3] 0.56 area 16 YOLO [29.0, 9.0, 4.0, 4.0] 0.39
Rectangle COCO [30, 10, 3, 3] 0.56 area 16 YOLO [29.0, 9.0, 4.0, 4.0] 0.39
Polygon COCO [30, 10, 3, 3] 0.56 area 9 YOLO [29.0, 9.0, 4.0, 4.0] 0.39" ]
