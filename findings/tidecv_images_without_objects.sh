#!/usr/bin/env bash
# tidecv 1.0.1: detections in images without objects count as nothing, where data are given by its functions and not as a file of COCO.
#
# Guess: AP50 of boxes that add_ground_truth and add_detection were told is pycocotools', as it is where tidecv reads the same from COCO's files.
# Seen: an image is known by its objects. What a detector finds in one that has none (its worst mistakes, as where most images are empty) is left out of AP and of TIDE's background errors,
# unless add_image was called for it, which the reader of COCO's files does. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tidecv==1.0.1 pycocotools==2.0.11 numpy==2.4.6
cd "$folder"
seen=$(MPLCONFIGDIR="$folder" venv/bin/python -W ignore - 2> /dev/null <<'PY'
from tidecv import TIDE, Data

for names_images in (False, True):
    truth, found = Data("truth"), Data("found")
    for image in range(4):
        if names_images:
            truth.add_image(image, str(image))
        if image == 0:
            truth.add_ground_truth(image, 1, [10, 10, 20, 20])
        found.add_detection(image, 1, 0.5 + image / 10, [10, 10, 20, 20])
    run = TIDE().evaluate(truth, found, mode=TIDE.BOX)
    print(f"AP50 {run.ap:.1f}", {kind.__name__: len(errors) for kind, errors in run.error_dict.items() if errors})
PY
)
echo "$seen"
[ "$seen" = "AP50 100.0 {}
AP50 25.0 {'BackgroundError': 3}" ]
