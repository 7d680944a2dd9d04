#!/usr/bin/env bash
# dagshub-annotation-converter 0.3.0: an object of COCO with a box and a polygon is two objects in the COCO file that it writes; crowds and turned rectangles are lost as such.
#
# Guess: a COCO file that is read and written again has the same objects; a rectangle that was turned in CVAT has the box around it, or is refused.
# Seen: each object with a box and polygons becomes one that has a box alone, and another, with a new id, that has polygons alone. A crowd of run lengths becomes an ordinary
# object with its box, and a warning says that its mask is left out, not what is made of it. A rectangle of 60 x 20 that is turned by 90 degrees, and so stands
# upright, is written without a word as a box of 60 x 20 that begins at its turned corner.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dagshub-annotation-converter==0.3.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import json

from dagshub_annotation_converter.converters.coco import export_to_coco_file, load_coco_from_json_string
from dagshub_annotation_converter.converters.cvat import load_cvat_from_xml_file


def objects(annotations, **context):
    """What the COCO file has that is written of annotations."""
    export_to_coco_file(annotations, "written.json", **context)
    with open("written.json") as file:
        return json.load(file)["annotations"]


box = {"bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0, "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}
# The square from 50 to 70, column by column.
runs = {"size": [100, 100], "counts": [5050] + [20, 80] * 19 + [20, 3030]}
crowd = {"bbox": [50, 50, 20, 20], "area": 400, "iscrowd": 1, "segmentation": runs}
source = {
    "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": number, "image_id": 1, "category_id": 1} | shape for number, shape in enumerate((box, crowd), 1)],
}
read, context = load_coco_from_json_string(json.dumps(source))
for written in objects(read["a.png"], context=context):
    print(written["id"], "box", written.get("bbox"), "polygons", len(written.get("segmentation", [])), "crowd", written["iscrowd"])

with open("cvat.xml", "w") as file:
    file.write(
        '<annotations><image id="0" name="b.png" width="100" height="100">'
        '<box label="cat" xtl="20" ytl="40" xbr="80" ybr="60" rotation="90.0"/></image></annotations>'
    )
print("turned:", [written["bbox"] for written in objects(load_cvat_from_xml_file("cvat.xml")["b.png"])], "around it: [40, 20, 20, 60]")
PY
)
echo "$seen"
[ "$seen" = "1 box [10.0, 10.0, 20.0, 20.0] polygons 0 crowd 0
2 box [50.0, 50.0, 20.0, 20.0] polygons 0 crowd 0
3 box None polygons 1 crowd 0
turned: [[60.0, 20.0, 60.0, 20.0]] around it: [40, 20, 20, 60]" ]
