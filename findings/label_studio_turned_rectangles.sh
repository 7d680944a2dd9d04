#!/usr/bin/env bash
# label-studio-sdk 2.1.2, by which Label Studio exports: a turned rectangle has another box in COCO, YOLO and Pascal VOC than it covers.
#
# Guess: of a rectangle with "rotation", which turns about its first corner, each of these formats gets the box around the turned rectangle, as
# the four corners that YOLO OBB gets say.
# Seen: YOLO and Pascal VOC get the rectangle as if it were not turned. COCO gets a box around a turned rectangle, but turned in per cent of width
# and height, so that it is right in square images alone. Nothing is logged. In an image twice as wide as high, a rectangle turned by a quarter
# shares a third of the box in COCO, and no pixel of those in YOLO and Pascal VOC. YOLO OBB is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet label-studio-sdk==2.1.2 pillow==13.0.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>log.txt <<'PY'
import json
from pathlib import Path
from xml.etree import ElementTree

from label_studio_sdk.converter import Converter
from PIL import Image

INTERFACE = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="car"/></RectangleLabels></View>"""


def boxes(width, height, turned):
    """The sides (left, top, right, bottom), in pixels, that a rectangle of 20 % by 20 % has in each format."""
    Path("files").mkdir(exist_ok=True)
    Image.new("RGB", (width, height)).save("files/a.png")
    value = {"x": 50, "y": 20, "width": 20, "height": 20, "rotation": turned, "rectanglelabels": ["car"]}
    result = {"id": "r", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": value}
    result |= {"original_width": width, "original_height": height, "image_rotation": 0}
    task = {"id": 1, "data": {"image": "/data/upload/a.png"}, "annotations": [{"id": 1, "result": [result]}]}
    Path("tasks.json").write_text(json.dumps([task]))
    converter = Converter(INTERFACE, project_dir=".", upload_dir="files", download_resources=False)
    converter.convert_to_coco("tasks.json", "coco", is_dir=False)
    converter.convert_to_yolo("tasks.json", "yolo", is_dir=False)
    converter.convert_to_voc("tasks.json", "voc", is_dir=False)
    converter.convert_to_yolo("tasks.json", "obb", is_dir=False, is_obb=True)
    corners = [float(word) for word in Path("obb/labels/a.txt").read_text().split()[1:]]
    xs, ys = [x * width for x in corners[::2]], [y * height for y in corners[1::2]]
    yield "YOLO OBB", (min(xs), min(ys), max(xs), max(ys))
    x, y, w, h = json.loads(Path("coco/result.json").read_text())["annotations"][0]["bbox"]
    yield "COCO", (x, y, x + w, y + h)
    x, y, w, h = (float(word) for word in Path("yolo/labels/a.txt").read_text().split()[1:])
    yield "YOLO", ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    box = ElementTree.parse("voc/Annotations/a.xml").find(".//bndbox")
    yield "Pascal VOC", tuple(float(box.find(side).text) for side in ("xmin", "ymin", "xmax", "ymax"))


for width, height, turned in ((200, 100, 0), (200, 100, 90), (200, 100, 30), (200, 200, 30)):
    print(f"{width}x{height}, {turned} degrees:", *(f"{name} {[round(side) for side in box]}" for name, box in boxes(width, height, turned)))
PY
)
echo "$seen"
[ "$seen" = "200x100, 0 degrees: YOLO OBB [100, 20, 140, 40] COCO [100, 20, 140, 40] YOLO [100, 20, 140, 40] Pascal VOC [100, 20, 140, 40]
200x100, 90 degrees: YOLO OBB [80, 20, 100, 60] COCO [60, 20, 100, 40] YOLO [100, 20, 140, 40] Pascal VOC [100, 20, 140, 40]
200x100, 30 degrees: YOLO OBB [90, 20, 135, 57] COCO [80, 20, 135, 47] YOLO [100, 20, 140, 40] Pascal VOC [100, 20, 140, 40]
200x200, 30 degrees: YOLO OBB [80, 40, 135, 95] COCO [80, 40, 135, 95] YOLO [100, 40, 140, 80] Pascal VOC [100, 40, 140, 80]" ]
! grep -i rotat log.txt
