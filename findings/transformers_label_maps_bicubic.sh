#!/usr/bin/env bash
# transformers 5.24.0: the image processors of BEiT and DPT resize masks bicubically, Sapiens2's bilinearly: along each border between two classes there are classes that the mask hasn't.
#
# Guess: `segmentation_maps` are resized by nearest neighbours, as every other image processor with that argument does: the labels are those of the mask.
# Seen: these three pass the image's own `resample` on to the mask. Between classes 3 and 150 lie pixels of others, and between 3 and 255, which is ignored, pixels that are not: all of them count in the
# loss. It is the default size, the PIL and the torchvision back end do the same, and there is no warning. resample=0 (nearest) puts the mask right, and takes the image's smoothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 pillow==13.0.0 transformers==5.24.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
from transformers import (
    BeitImageProcessor,
    BeitImageProcessorPil,
    DPTImageProcessor,
    MobileNetV2ImageProcessor,
    Sapiens2ImageProcessor,
    SegformerImageProcessor,
)

mask = np.full((90, 130), 3, np.uint8)
mask[20:60, 30:80] = 150
mask[:, 100:] = 255
image = np.zeros((90, 130, 3), np.uint8)
for processor in (
    SegformerImageProcessor(),
    MobileNetV2ImageProcessor(),
    BeitImageProcessor(),
    BeitImageProcessorPil(),
    DPTImageProcessor(),
    Sapiens2ImageProcessor(),
    BeitImageProcessor(resample=0),
):
    labels = processor(images=image, segmentation_maps=mask, return_tensors="np")["labels"]
    other = labels[~np.isin(labels, mask)]
    print(type(processor).__name__, f"{other.size / labels.size:.1%} of pixels, {np.unique(other).size} classes")
PY
)
echo "$seen"
[ "$seen" = "SegformerImageProcessor 0.0% of pixels, 0 classes
MobileNetV2ImageProcessor 0.0% of pixels, 0 classes
BeitImageProcessor 5.7% of pixels, 59 classes
BeitImageProcessorPil 5.7% of pixels, 59 classes
DPTImageProcessor 5.9% of pixels, 102 classes
Sapiens2ImageProcessor 2.3% of pixels, 110 classes
BeitImageProcessor 0.0% of pixels, 0 classes" ]
