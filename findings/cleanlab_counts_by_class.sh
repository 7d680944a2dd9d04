#!/usr/bin/env bash
# cleanlab 2.9.0: of detections in five classes, the counts per class are a fifth of what they are.
#
# Guess: get_average_per_class_confusion_matrix has for each class "the average number of True Positive, False Positive, and False Negative detections ... across a range of Intersection over Union thresholds": where every
# box is found exactly, TP is the number of objects of the class, however many classes there are.
# Seen: sums are divided by thresholds times classes: 18 objects are 18 with one class, 3.6 with five. Precision and recall, quotients of them, are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cleanlab==2.9.0 numpy==2.4.6 pandas==3.1.1 scikit-learn==1.9.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from cleanlab.object_detection.summary import calculate_per_class_metrics, get_average_per_class_confusion_matrix

boxes = np.array([[10, 10, 40, 40], [50, 10, 90, 30], [20, 60, 60, 90]], np.float32)
for classes in (1, 2, 5):
    labels = [{"bboxes": boxes, "labels": np.zeros(3, int)} for _ in range(6)]
    found = np.empty(classes, object)
    for number in range(classes):
        found[number] = np.c_[boxes, np.full(3, 0.9, np.float32)] if number == 0 else np.zeros((0, 5), np.float32)
    counts = get_average_per_class_confusion_matrix(labels, [found] * 6)[0]
    scores = calculate_per_class_metrics(labels, [found] * 6)[0]
    print(f"{classes} classes:", {name: round(float(value), 2) for name, value in (counts | scores).items()})
PY
)
echo "$seen"
[ "$seen" = "1 classes: {'TP': 18.0, 'FP': 0.0, 'FN': 0.0, 'average precision': 1.0, 'average recall': 1.0, 'average f1': 1.0}
2 classes: {'TP': 9.0, 'FP': 0.0, 'FN': 0.0, 'average precision': 1.0, 'average recall': 1.0, 'average f1': 1.0}
5 classes: {'TP': 3.6, 'FP': 0.0, 'FN': 0.0, 'average precision': 1.0, 'average recall': 1.0, 'average f1': 1.0}" ]
