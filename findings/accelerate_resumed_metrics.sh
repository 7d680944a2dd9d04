#!/usr/bin/env bash
# accelerate 1.15.0: after skip_first_batches, gather_for_metrics counts images twice that were added to fill the last batch.
#
# Guess: of a resumed epoch (skip_first_batches, as the guide to checkpoints says) gather_for_metrics gives what is left of it, each image once, as it does for a whole epoch.
# Seen: with 9 images in batches of 2 over 2 processes the last round is filled with images from the beginning, which gather_for_metrics takes out again, but not after skip_first_batches: 5
# images are left and 8 come, 3 of which were seen before. So they count in a mean over the rest of an epoch, or are twice in what is written for each image. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 accelerate==1.15.0 numpy==2.4.6
cd "$folder"
cat > counted.py <<'PY'
from accelerate import Accelerator, debug_launcher, skip_first_batches
from torch.utils.data import DataLoader


def gathered():
    accelerator = Accelerator(cpu=True)
    for images in (8, 9, 11):
        loader = accelerator.prepare(DataLoader(list(range(images)), batch_size=2))
        for name, batches in (("all of them", loader), ("the first batch skipped", skip_first_batches(loader, 1))):
            seen = [image for batch in batches for image in accelerator.gather_for_metrics(batch).tolist()]
            if accelerator.is_main_process:
                print(images, "images,", name, seen)


debug_launcher(gathered, num_processes=2)
PY
seen=$(venv/bin/python -W ignore counted.py 2> /dev/null | grep images)
echo "$seen"
[ "$seen" = "8 images, all of them [0, 1, 2, 3, 4, 5, 6, 7]
8 images, the first batch skipped [4, 5, 6, 7]
9 images, all of them [0, 1, 2, 3, 4, 5, 6, 7, 8]
9 images, the first batch skipped [4, 5, 6, 7, 8, 0, 1, 2]
11 images, all of them [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
11 images, the first batch skipped [4, 5, 6, 7, 8, 9, 10, 0]" ]
