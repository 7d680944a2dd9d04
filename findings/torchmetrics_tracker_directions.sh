#!/usr/bin/env bash
# torchmetrics 1.9.0: MetricTracker gives the worst epoch as the best where the names of a collection aren't in alphabetical order.
#
# Guess: MetricTracker(MetricCollection({"miou": ..., "error": ...}), maximize=[True, False]) takes the highest mIoU and the lowest error, in the order of the dictionary, as of a list.
# Seen: a collection sorts the names of a dictionary, and the directions are matched with the sorted names: the best error is the highest and the best mIoU the lowest, of their epochs. A
# collection made of a list keeps its order, and directions that are left out (maximize=None) are those of the metrics. The numbers of directions fit, so that nothing is said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchmetrics==1.9.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from torchmetrics import MeanSquaredError, MetricCollection, MetricTracker
from torchmetrics.classification import MulticlassJaccardIndex

truth = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
epochs = [torch.tensor(found) for found in ([1, 1, 1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1])]
miou, error = MulticlassJaccardIndex(num_classes=2), MeanSquaredError()
for name, collection, maximize in (
    ("error, miou", MetricCollection({"error": error, "miou": miou}), [False, True]),
    ("miou, error", MetricCollection({"miou": miou, "error": error}), [True, False]),
    ("a list", MetricCollection([miou, error]), [True, False]),
    ("no directions", MetricCollection({"miou": miou, "error": error}), None),
):
    tracker = MetricTracker(collection, maximize=maximize)
    for found in epochs:
        tracker.increment()
        tracker.update(found, truth)
    values, steps = tracker.best_metric(return_step=True)
    print(name, *(f"{key} {values[key]:.2f} of epoch {steps[key]}" for key in values), sep=", ")
PY
)
echo "$seen"
[ "$seen" = "error, miou, error 0.00 of epoch 1, miou 1.00 of epoch 1
miou, error, error 0.62 of epoch 0, miou 0.23 of epoch 0
a list, MulticlassJaccardIndex 1.00 of epoch 1, MeanSquaredError 0.00 of epoch 1
no directions, error 0.00 of epoch 1, miou 1.00 of epoch 1" ]
