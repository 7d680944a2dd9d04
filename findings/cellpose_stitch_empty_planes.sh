#!/usr/bin/env bash
# cellpose 4.2.1.1: stitch3D gives cells above and below an empty plane the same numbers, though they are in different places.
#
# Guess: planes whose cells are numbered from 1 each are joined to a volume in which a number is one cell: cells that overlap enough in neighbouring planes share one, and all others get
# new ones. So it is for two planes with nothing between them.
# Seen: until two neighbouring planes have both had cells, a plane beside an empty one keeps its numbers as they are: of five cells in three planes there are three numbers, and
# cell 1 is in two corners of the volume. Thick slices, in which a cell is in one plane alone, are stitched so (stitch_threshold of CellposeModel.eval calls this function).
# cellpose needs torch, which pip installs with it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cellpose==4.2.1.1 numpy==2.4.6 torch==2.14.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from cellpose.utils import stitch3D


def plane(*corners):
    """Square cells at corners, numbered from 1."""
    cells = np.zeros((40, 40), np.uint16)
    for number, (row, column) in enumerate(corners, 1):
        cells[row : row + 8, column : column + 8] = number
    return cells


above, below = plane((2, 2), (2, 20)), plane((25, 2), (25, 20), (12, 12))
for name, planes in (("neighbours", [above, below]), ("an empty plane between", [above, plane(), below])):
    stitched = np.asarray(stitch3D(np.stack(planes)))
    first = [tuple(int(axis.min()) for axis in np.nonzero(cells == 1)) for cells in stitched if (cells == 1).any()]
    print(f"{name}: {len(np.unique(stitched)) - 1} numbers for 5 cells, number 1 begins at {first}")
PY
)
echo "$seen"
[ "$seen" = "neighbours: 5 numbers for 5 cells, number 1 begins at [(2, 2)]
an empty plane between: 3 numbers for 5 cells, number 1 begins at [(2, 2), (25, 2)]" ]
