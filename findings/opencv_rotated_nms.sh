#!/usr/bin/env bash
# OpenCV 5.0.0: NMSBoxesRotated takes a box that lies within another for the same box: of the two the less certain one is dropped, however small its overlap.
#
# Guess: boxes are dropped whose IoU with a more certain one is above nms_threshold, as NMSBoxes does with upright ones.
# Seen: where one box contains another, the overlap counts as 1: a car on a ferry is dropped at a threshold of 0.5, though its IoU is 0.02, and the ferry, if the car is more certain. Half a pixel over the edge the car stays.
# Boxes that overlap in part are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import cv2

ferry, car = ((50.0, 50.0), (80.0, 80.0), 0.0), ((60.0, 45.0), (10.0, 10.0), 0.0)
for name, second in (("within", car), ("at the edge", ((85.5, 45.0), (10.0, 10.0), 0.0))):
    for scores in ((0.9, 0.8), (0.8, 0.9)):
        upright = [[x - w / 2, y - h / 2, w, h] for (x, y), (w, h), _ in (ferry, second)]
        kept = cv2.dnn.NMSBoxes(upright, scores, 0.1, 0.5).tolist()
        print(name, scores, "upright", kept, "rotated", cv2.dnn.NMSBoxesRotated([ferry, second], scores, 0.1, 0.5).tolist())
turned = [((x, y), size, 30.0) for (x, y), size, _ in (ferry, car)]
print("turned by 30", cv2.dnn.NMSBoxesRotated(turned, (0.9, 0.8), 0.1, 0.5).tolist())
PY
)
echo "$seen"
[ "$seen" = "within (0.9, 0.8) upright [0, 1] rotated [0]
within (0.8, 0.9) upright [1, 0] rotated [1]
at the edge (0.9, 0.8) upright [0, 1] rotated [0, 1]
at the edge (0.8, 0.9) upright [1, 0] rotated [1, 0]
turned by 30 [0]" ]
