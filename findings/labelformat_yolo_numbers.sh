#!/usr/bin/env bash
# labelformat 0.1.17: COCO's category ids become YOLO's class numbers, and what it has written it can't read.
#
# Guess: converted from COCO, whose ids begin at 1, objects have YOLO's class numbers 0, 1 ... in the order of the categories, with names to
# match, and the way back gives the same boxes and names.
# Seen: the numbers are COCO's ids, gaps and all: names are {1: car, 3: bus} beside nc: 2. Programs that count classes from 0 to nc - 1, as YOLO's
# format does, find class 3 beyond the last; labelformat's own reader fails with a KeyError. From ids that begin at 0 all is as guessed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet labelformat==0.1.17 pillow==13.0.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2>/dev/null <<'PY'
import json
from pathlib import Path

from labelformat.formats import COCOObjectDetectionInput, YOLOv8ObjectDetectionInput, YOLOv8ObjectDetectionOutput
from PIL import Image

Path("yolo/images").mkdir(parents=True)
Image.new("RGB", (200, 100)).save("yolo/images/a.png")
for ids in ((0, 1), (1, 3)):
    document = {
        "images": [{"id": 1, "width": 200, "height": 100, "file_name": "a.png"}],
        "categories": [{"id": number, "name": name} for number, name in zip(ids, ("car", "bus"))],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": ids[0], "bbox": [20, 20, 40, 40], "area": 1600, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": ids[1], "bbox": [100, 20, 40, 40], "area": 1600, "iscrowd": 0},
        ],
    }
    Path("coco.json").write_text(json.dumps(document))
    written = YOLOv8ObjectDetectionOutput(output_file=Path("yolo/data.yaml"), output_split="train")
    written.save(label_input=COCOObjectDetectionInput(input_file=Path("coco.json")))
    print(*Path("yolo/labels/a.txt").read_text().splitlines(), *Path("yolo/data.yaml").read_text().split("path")[0].split(), sep=" | ")
    try:
        read = YOLOv8ObjectDetectionInput(input_file=Path("yolo/data.yaml"), input_split="train")
        print("read:", *(each.category.name for label in read.get_labels() for each in label.objects))
    except KeyError as error:
        print("KeyError", error)
PY
)
echo "$seen"
[ "$seen" = "0 0.2 0.4 0.2 0.4 | 1 0.6 0.4 0.2 0.4 | names: | 0: | car | 1: | bus | nc: | 2
read: car bus
1 0.2 0.4 0.2 0.4 | 3 0.6 0.4 0.2 0.4 | names: | 1: | car | 3: | bus | nc: | 2
KeyError 0" ]
