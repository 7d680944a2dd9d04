#!/usr/bin/env bash
# stardist 0.9.2: an image without objects in which nothing is found scores 0 in every measure, so that matching_dataset(by_image=True) of perfect predictions is the share of images with objects.
#
# Guess: such an image scores 1, or NaN and is left out of the mean; a mean over images of perfect predictions is 1.
# Seen: precision, recall, accuracy, F1 and panoptic quality are 0 wherever there is no true positive, the same as of an image in which an object is missed. Of four perfect images, one of them with
# objects, all means are 0.25; by_image=False, the default, counts objects and gives 1. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet stardist==0.9.2 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from stardist.matching import matching, matching_dataset

empty = np.zeros((32, 32), np.uint16)
cells = empty.copy()
cells[4:12, 4:12], cells[20:28, 16:30] = 1, 2


def scores(result):
    return [float(getattr(result, name)) for name in ("precision", "recall", "accuracy", "f1", "panoptic_quality")]


print("nothing there, nothing found", scores(matching(empty, empty)))
print("two missed", scores(matching(cells, empty)))
images = [cells, empty, empty, empty]
for by_image in (False, True):
    print("by image" if by_image else "by object", scores(matching_dataset(images, images, by_image=by_image, show_progress=False)))
PY
)
echo "$seen"
[ "$seen" = "nothing there, nothing found [0.0, 0.0, 0.0, 0.0, 0.0]
two missed [0.0, 0.0, 0.0, 0.0, 0.0]
by object [1.0, 1.0, 1.0, 1.0, 1.0]
by image [0.25, 0.25, 0.25, 0.25, 0.25]" ]
