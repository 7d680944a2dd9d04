#!/usr/bin/env bash
# panoptica 2.1.7: where the highest number of an object in the truth is 255, that object or all count as missed, and the panoptic quality of the image is 0, however good the rest is.
#
# Guess: numbers of objects are names alone: an image with 255 objects that are all found exactly has quality 1, as one with 254 or 256 has.
# Seen: masks are stored in the smallest type that holds their numbers, where 255 + 1 is 0. 255 objects found exactly have 254 true positives and quality 0; of two objects, one of them
# drawn as 255, none is found, whatever the type of the arrays; 65535 does the same. No warning. Nothing is lost where the prediction has higher numbers, or where objects are the parts of a semantic mask.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet panoptica==2.1.7 numpy==2.2.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from panoptica import InputType, NaiveThresholdMatching, Panoptica_Evaluator, disable_citation_reminder
from panoptica.metrics import Metric

disable_citation_reminder()
evaluator = Panoptica_Evaluator(
    expected_input=InputType.UNMATCHED_INSTANCE, instance_matcher=NaiveThresholdMatching(), instance_metrics=[Metric.IOU]
)


def scored(numbers):
    """Squares of 9 pixels with these numbers, found exactly."""
    mask = np.zeros((64, 64), np.int32)
    for place, number in enumerate(numbers):
        mask[place // 16 * 4 :, place % 16 * 4 :][:3, :3] = number
    result = evaluator.evaluate(mask.copy(), mask, verbose=False)["ungrouped"]
    return f"found {result.tp:.0f}, missed {result.fn:.0f}, quality {result.pq:.3f}"


for count in (254, 255, 256):
    print(count, "objects:", scored(range(1, count + 1)))
for number in (1, 255, 65535):
    print("one of number", number, "and one of 3:", scored([number, 3]))
PY
)
echo "$seen"
[ "$seen" = "254 objects: found 254, missed 0, quality 1.000
255 objects: found 254, missed 1, quality 0.000
256 objects: found 256, missed 0, quality 1.000
one of number 1 and one of 3: found 2, missed 0, quality 1.000
one of number 255 and one of 3: found 0, missed 2, quality 0.000
one of number 65535 and one of 3: found 0, missed 2, quality 0.000" ]
