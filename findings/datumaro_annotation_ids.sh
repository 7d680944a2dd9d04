#!/usr/bin/env bash
# datumaro 1.13.12: in COCO files that it makes of YOLO or Pascal VOC, objects share their ids, and pycocotools takes one for the other.
#
# Guess: converted from YOLO or Pascal VOC to coco_instances, each object keeps its box and has an id of its own.
# Seen: boxes are right, but ids begin anew in each image. pycocotools, and torchvision, detectron2 and others that read by it, keep the last object of
# an id: as the two objects of 1.jpg they give one of 2.jpg, twice. Training and AP are of wrong boxes then, and nothing says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datumaro==1.13.12 pycocotools==2.0.11 numpy==2.4.6 pillow
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import contextlib
import io
import json
from pathlib import Path

from datumaro import Dataset
from PIL import Image
from pycocotools.coco import COCO

LEFT = {"1": (10, 60), "2": (30, 120)}  # of two boxes of 20 x 40 in each image of 200 x 100


def save(folder, name):
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100)).save(path)


Path("voc/Annotations").mkdir(parents=True)
Path("voc/ImageSets/Main").mkdir(parents=True)
Path("voc/ImageSets/Main/train.txt").write_text("1\n2\n")
for name, lefts in LEFT.items():
    save("voc/JPEGImages", f"{name}.jpg")
    save("yolo/obj_train_data", f"{name}.jpg")
    size = "<size><width>200</width><height>100</height><depth>3</depth></size>"
    box = "<bndbox><xmin>{}</xmin><ymin>20</ymin><xmax>{}</xmax><ymax>60</ymax></bndbox>"
    objects = "".join(f"<object><name>dog</name>{box.format(left, left + 20)}</object>" for left in lefts)
    xml = f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"
    Path("voc/Annotations", f"{name}.xml").write_text(xml)
    lines = [f"0 {(left + 10) / 200} 0.4 0.1 0.4\n" for left in lefts]
    Path("yolo/obj_train_data", f"{name}.txt").write_text("".join(lines))
Path("yolo/obj.data").write_text("classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
Path("yolo/obj.names").write_text("dog\n")
Path("yolo/train.txt").write_text("data/obj_train_data/1.jpg\ndata/obj_train_data/2.jpg\n")
for kind in ("voc", "yolo"):
    Dataset.import_from(kind, kind).export(f"from_{kind}", "coco_instances")
    file = f"from_{kind}/annotations/instances_train.json"
    content = json.loads(Path(file).read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    written = sorted((names[each["image_id"]], round(each["bbox"][0])) for each in content["annotations"])
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(file)
    read = sorted((names[i], round(each["bbox"][0])) for i in names for each in coco.loadAnns(coco.getAnnIds(imgIds=i)))
    print(kind, "written:", *written)
    print(kind, "read:", *read)
PY
)
echo "$seen"
[ "$seen" = "voc written: ('1.jpg', 10) ('1.jpg', 60) ('2.jpg', 30) ('2.jpg', 120)
voc read: ('1.jpg', 120) ('1.jpg', 120) ('2.jpg', 30) ('2.jpg', 120)
yolo written: ('1.jpg', 10) ('1.jpg', 60) ('2.jpg', 30) ('2.jpg', 120)
yolo read: ('1.jpg', 120) ('1.jpg', 120) ('2.jpg', 30) ('2.jpg', 120)" ]
