#!/usr/bin/env bash
# luxonis-ml 0.10.2: COCO files that it exports number the categories of each split anew: train's 1 may be val's 2.
#
# Guess: a class has one id in the files of train, val and test, as it has one number in what is exported as YOLO.
# Seen: ids are given out in the order in which a split's objects come, and classes without an object in a split are missing from its file. Who goes by category_id takes
# cats for dogs: a network that has learnt by train's ids and finds everything has AP 0. Boxes, masks and their areas are right, and YOLO's class numbers are the same in each split.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "luxonis-ml[data]==0.10.2" numpy==2.4.6 pillow==13.0.0
cd "$folder"
export LUXONISML_BASE_PATH="$folder/luxonis"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import contextlib
import io
import json
from pathlib import Path

from luxonis_ml.data import LuxonisDataset
from luxonis_ml.enums import DatasetType
from PIL import Image

boxes = {"cat": {"x": 0.1, "y": 0.1, "w": 0.2, "h": 0.2}, "dog": {"x": 0.5, "y": 0.5, "w": 0.4, "h": 0.3}}
order = {"train": ("cat", "dog"), "val": ("dog", "cat"), "test": ("dog",)}
for split in order:
    Image.new("RGB", (80, 60), tuple(map(ord, split[:3]))).save(f"{split}.png")
records = [
    {"file": f"{split}.png", "annotation": {"class": name, "instance_id": number, "boundingbox": boxes[name]}}
    for split, names in order.items()
    for number, name in enumerate(names)
]
with contextlib.redirect_stdout(io.StringIO()):
    dataset = LuxonisDataset("pets", delete_local=True)
    dataset.add(iter(records))
    dataset.make_splits({split: [f"{split}.png"] for split in order})
    dataset.export("coco", DatasetType.COCO)
    dataset.export("yolo", DatasetType.YOLOV8BOUNDINGBOX)
for split in ("train", "valid", "test"):
    content = json.loads(Path(f"coco/pets/{split}/_annotations.coco.json").read_text())
    print("COCO", split, {entry["id"]: entry["name"] for entry in content["categories"]})
for split in order:
    (label,) = Path(f"yolo/pets/labels/{split}").glob("*.txt")
    print("YOLO", split, [int(line.split()[0]) for line in label.read_text().splitlines()])
PY
)
echo "$seen"
[ "$seen" = "COCO train {1: 'cat', 2: 'dog'}
COCO valid {1: 'dog', 2: 'cat'}
COCO test {1: 'dog'}
YOLO train [0, 1]
YOLO val [1, 0]
YOLO test [1]" ]
