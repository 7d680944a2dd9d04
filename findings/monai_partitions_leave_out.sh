#!/usr/bin/env bash
# MONAI 1.6.1: partition_dataset by ratios leaves images out of every part, and partition_dataset_classes a quarter of a data set with four images of each class.
#
# Guess: each image is in exactly one part, as the example of its help has it, [[1, 2, 3], [4], [5]] of five.
# Seen: each part is rounded by itself, and what is over is in none: of 34 images in parts of 8 : 1 : 1 one, of 104 in ten folds four, without a word. Where roundings are up, the last part
# gets less or nothing. partition_dataset_classes rounds so for each class: of 20 classes with 4 images each, in 8 : 1 : 1, 20 of 80 images are in no part, and two of the parts are empty.
# With num_partitions, and without ratios, every image is in a part.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 monai==1.6.1 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
from monai.data import partition_dataset, partition_dataset_classes


def told(name, images, parts):
    print(name, [len(part) for part in parts], "in none:", len(set(images).difference(*parts)))


for number, ratios in ((5, [6, 2, 2]), (34, [8, 1, 1]), (104, [1] * 10), (12, [1] * 5)):
    images = list(range(number))
    told(f"{number} by {ratios}", images, partition_dataset(images, ratios=ratios, shuffle=True))
told("104 in 10", range(104), partition_dataset(list(range(104)), num_partitions=10, shuffle=True))
images = list(range(80))
classes = [image // 4 for image in images]
for ratios in ([8, 1, 1], [1] * 5):
    told(f"20 classes by {ratios}", images, partition_dataset_classes(images, classes, ratios=ratios, shuffle=True))
PY
)
echo "$seen"
[ "$seen" = "5 by [6, 2, 2] [3, 1, 1] in none: 0
34 by [8, 1, 1] [27, 3, 3] in none: 1
104 by [1, 1, 1, 1, 1, 1, 1, 1, 1, 1] [10, 10, 10, 10, 10, 10, 10, 10, 10, 10] in none: 4
12 by [1, 1, 1, 1, 1] [2, 2, 2, 2, 2] in none: 2
104 in 10 [11, 11, 11, 11, 10, 10, 10, 10, 10, 10] in none: 0
20 classes by [8, 1, 1] [60, 0, 0] in none: 20
20 classes by [1, 1, 1, 1, 1] [20, 20, 20, 20, 0] in none: 0" ]
