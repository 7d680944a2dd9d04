#!/usr/bin/env bash
# encord 0.1.211: COCO's file of a project has each bitmask as a crowd, which is neither learnt nor scored, a first object that is always missed, and turned boxes unturned.
#
# Guess: `export_coco_labels` writes bitmasks, and polygons with a hole, with `iscrowd` 1; its ids of objects start at 0, which pycocotools takes for unmatched; a turned box is written as if its angle were 0.
# Seen: as guessed. Its documentation has crowds for groups of objects only. Of boxes that are the truth itself the first has AP 0, and bitmask and holed polygon, each alone of its class, have none. A box turned by 30 degrees has `bbox` and polygon of the unturned one, the angle being an attribute.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "encord[coco]==0.1.211" pycocotools==2.0.11 numpy==1.26.4
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import contextlib
import io

import numpy as np
from encord.objects import OntologyStructure, Shape
from encord.objects.coordinates import BitmaskCoordinates
from encord.utilities.coco.exporter import CocoExporter
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HEIGHT, WIDTH = 100, 200
mask = np.zeros((HEIGHT, WIDTH), bool)
mask[10:30, 20:60] = True


def ring(*corners):
    return [number for x, y in corners for number in (x / WIDTH, y / HEIGHT)]


def points(*corners):
    return {str(number): {"x": x / WIDTH, "y": y / HEIGHT} for number, (x, y) in enumerate(corners)}


square, hole = ((10, 50), (50, 50), (50, 80), (10, 80)), ((20, 60), (40, 60), (40, 70), (20, 70))
shapes = {
    "box": (Shape.BOUNDING_BOX, {"boundingBox": {"x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4}}),
    "bitmask": (Shape.BITMASK, {"bitmask": BitmaskCoordinates(mask).to_dict()}),
    "polygon": (Shape.POLYGON, {"polygon": points(*square), "polygons": [[ring(*square)]]}),
    "holed": (Shape.POLYGON, {"polygon": points(*square), "polygons": [[ring(*square), ring(*hole)]]}),
    "turned": (Shape.ROTATABLE_BOUNDING_BOX, {"rotatableBoundingBox": {"x": 0.5, "y": 0.5, "w": 0.3, "h": 0.1, "theta": 30.0}}),
}
ontology = OntologyStructure()
objects = []
for name, (shape, fields) in shapes.items():
    feature = ontology.add_object(name=name, shape=shape).feature_node_hash
    objects.append({
        "name": name, "value": name, "color": "#ff0000", "createdAt": "x", "createdBy": "x", "confidence": 1, "manualAnnotation": True,
        "objectHash": name, "featureHash": feature, "shape": shape.value, **fields,
    })  # fmt: skip
image = {
    "data_hash": "d", "data_title": "a.png", "data_link": "", "data_type": "image/png", "data_sequence": "0", "width": WIDTH, "height": HEIGHT,
    "labels": {"objects": objects, "classifications": []},
}  # fmt: skip
row = {
    "label_hash": "l", "data_title": "a.png", "data_hash": "d", "data_type": "image", "dataset_hash": "x", "dataset_title": "x",
    "data_units": {"d": image}, "object_answers": {name: {"objectHash": name, "classifications": []} for name in shapes},
    "classification_answers": {}, "object_actions": {},
}  # fmt: skip
content = CocoExporter([row], ontology).export()
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO()
    truth.dataset = content
    truth.createIndex()
    found = truth.loadRes([{key: each[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for each in content["annotations"]])
    scored = COCOeval(truth, found, "bbox")
    scored.evaluate()
    scored.accumulate()
for number, (name, each) in enumerate(zip(shapes, content["annotations"], strict=True)):
    ap = scored.eval["precision"][:, :, number, 0, 2].mean()
    print(f"{name}: id {each['id']}, iscrowd {each['iscrowd']}, AP {'none' if ap < 0 else format(ap, '.2f')}")
print("turned:", [round(number) for number in each["bbox"]], [round(number) for number in each["segmentation"][0]])
PY
)
echo "$seen"
[ "$seen" = "box: id 0, iscrowd 0, AP 0.00
bitmask: id 1, iscrowd 1, AP none
polygon: id 2, iscrowd 0, AP 1.00
holed: id 3, iscrowd 1, AP none
turned: id 4, iscrowd 0, AP 1.00
turned: [100, 50, 60, 10] [100, 50, 160, 50, 160, 60, 100, 60]" ]
