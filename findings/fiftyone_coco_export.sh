#!/usr/bin/env bash
# fiftyone 1.22.1: a COCO file that it reads and writes again has the areas of boxes beside its masks, no holes, and other masks of what is small or thin.
#
# Guess: what COCO's importer reads the exporter writes again: each object's mask to a rim of it, with its area.
# Seen: `area` is the box's width x height, 2,400 of 384 pixels for a corner of two bars: objects count as medium or large that are small. The outline of a hole is one more polygon of the object, which fills it. Polygons may be 2 pixels off
# where `tolerance` isn't given: a square of 10 x 10 pixels has IoU 0.84 with what it was, a line of 30 pixels is empty. Run lengths are kept for crowds alone. Boxes are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fiftyone==1.22.1 pycocotools==2.0.11 numpy==2.4.6
cd "$folder"
export HOME="$folder" FIFTYONE_DO_NOT_TRACK=1
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import json
from pathlib import Path

import fiftyone.utils.coco as fo_coco
import numpy as np
from PIL import Image
from pycocotools import mask as coco

HEIGHT, WIDTH = 120, 200
y, x = np.mgrid[:HEIGHT, :WIDTH]
away = np.hypot(y - 60, x - 80)
masks = {
    "ring": (away < 30) & (away > 12),
    "square": (abs(y - 24.5) < 5) & (abs(x - 154.5) < 5),
    "line": (y == 50) & (x >= 130) & (x < 160),
    "corner": ((x >= 120) & (x < 124) & (y >= 70) & (y < 110)) | ((y >= 106) & (y < 110) & (x >= 120) & (x < 180)),
}


def counts(mask):
    columns = mask.flatten("F")
    changes = np.flatnonzero(np.diff(columns, prepend=False))
    return np.diff(changes, prepend=0, append=columns.size).tolist()


content = {
    "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
    "categories": [{"id": 1, "name": "shape"}],
    "annotations": [
        {
            "id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": int(mask.sum()),
            "bbox": coco.toBbox(coco.encode(np.asfortranarray(mask, np.uint8))).tolist(),
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts(mask)},
        }
        for number, mask in enumerate(masks.values(), 1)
    ],
}
Path("images").mkdir()
Image.new("RGB", (WIDTH, HEIGHT)).save("images/a.png")
Path("labels.json").write_text(json.dumps(content))
reader = fo_coco.COCODetectionDatasetImporter(data_path="images", labels_path="labels.json", label_types=["segmentations"])
writer = fo_coco.COCODetectionDatasetExporter(export_dir="written", export_media=False)
with reader, writer:
    for path, metadata, label in reader:
        for read, mask in zip(label.detections, masks.values(), strict=True):
            assert read.mask.sum() == mask.sum()
        writer.export_sample(path, label, metadata=metadata)
for (name, mask), written in zip(masks.items(), json.loads(Path("written/labels.json").read_text())["annotations"], strict=True):
    polygons = coco.merge(coco.frPyObjects(written["segmentation"], HEIGHT, WIDTH))
    again = coco.decode(polygons).astype(bool)
    print(f"{name}: area {written['area']:.0f} of {mask.sum()}, IoU {(again & mask).sum() / (again | mask).sum():.2f}")
PY
)
echo "$seen"
[ "$seen" = "ring: area 3481 of 2368, IoU 0.81
square: area 100 of 100, IoU 0.84
line: area 30 of 30, IoU 0.00
corner: area 2400 of 384, IoU 0.98" ]
