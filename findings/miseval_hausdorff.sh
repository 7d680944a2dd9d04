#!/usr/bin/env bash
# miseval 1.3.0: the Hausdorff distance of a square and the same square 20 rows lower is 0, whatever the class; the "average" one is the largest.
#
# Guess: "HD" of a class is the largest distance from a pixel of one mask to the nearest of the other, 20 here, and 0 for a class that is found exactly; "AHD" is a mean of such distances.
# Seen: "HD" is 0 where the square has moved down and sqrt(10) where it has moved right, of a class that is found exactly too: miseval hands the mask to a function that takes each
# row for a point, with as many coordinates as there are columns, and leaves the class aside. "AHD" is the largest distance: a single wrong pixel 76 away makes it 76.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet miseval==1.3.0 numpy==2.4.6 scipy==1.17.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from miseval import evaluate
from scipy.spatial.distance import directed_hausdorff


def squares(row, column):
    """A mask with a square of class 1 at a place, and one of class 2 that stays where it is."""
    mask = np.zeros((100, 100), np.uint8)
    mask[row : row + 10, column : column + 10] = 1
    mask[60:70, 60:70] = 2
    return mask


def show(name, truth, found):
    hd, ahd = (evaluate(truth, found, metric=metric, multi_class=True, n_classes=3)[1:] for metric in ("HD", "AHD"))
    a, b = np.argwhere(truth == 1), np.argwhere(found == 1)
    true = max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0])
    print(f"{name}: HD {hd[0]:.2f} and {hd[1]:.2f}, AHD {ahd[0]:.2f} and {ahd[1]:.2f}, by definition HD is {true:.2f} and 0.00")


truth = squares(10, 10)
show("20 rows lower", truth, squares(30, 10))
show("20 columns to the right", truth, squares(10, 30))
speck = truth.copy()
speck[10, 95] = 1
show("a far pixel", truth, speck)
PY
)
echo "$seen"
[ "$seen" = "20 rows lower: HD 0.00 and 0.00, AHD 20.00 and 0.00, by definition HD is 20.00 and 0.00
20 columns to the right: HD 3.16 and 3.16, AHD 20.00 and 0.00, by definition HD is 20.00 and 0.00
a far pixel: HD 1.00 and 1.00, AHD 76.00 and 0.00, by definition HD is 76.00 and 0.00" ]
