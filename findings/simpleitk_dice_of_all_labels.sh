#!/usr/bin/env bash
# SimpleITK 2.5.7: the Dice coefficient and Jaccard index of all labels are those of all pixels together, so that small classes hardly count.
#
# Guess: LabelOverlapMeasuresImageFilter without a label gives the mean of what it gives for each label, which is what segmentation reports as mean Dice and mean IoU.
# Seen: overlaps and sizes are summed over the labels first. An object of 900 pixels that is found and one of 9 that is missed have Dice 0.995 together, and 0.5 on average: who compares with
# the mean of another library compares two measures. Its help calls either the mean overlap of "the specified individual label".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import SimpleITK

truth = np.zeros((40, 40), np.uint8)
truth[:30, :30] = 1
truth[35:38, 35:38] = 2
found = np.where(truth == 1, 1, 0).astype(np.uint8)
overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
overlap.Execute(SimpleITK.GetImageFromArray(found), SimpleITK.GetImageFromArray(truth))
for name, measure in (("Dice", overlap.GetDiceCoefficient), ("Jaccard", overlap.GetJaccardCoefficient)):
    print(name, f"{measure():.3f}", "mean", f"{np.mean([measure(label) for label in (1, 2)]):.3f}")
PY
)
echo "$seen"
[ "$seen" = "Dice 0.995 mean 0.500
Jaccard 0.990 mean 0.500" ]
