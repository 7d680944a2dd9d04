#!/usr/bin/env bash
# transformers 5.24.0: what post_process_instance_segmentation of MaskFormer and Mask2Former returns with return_coco_annotation is no COCO run lengths, begins with the background, and lacks what overlaps.
#
# Guess: return_coco_annotation, "in COCO run-length encoding (RLE) format" and one of two ways "to get the correct segmentation result" where "instances could overlap", gives one RLE for each entry of segments_info,
# in their order, which pycocotools decodes to the mask that return_binary_maps gives.
# Seen: it encodes the map in which each pixel has one object: of two that overlap, the first loses what they share. The first RLE is that of the pixels without an object, so that entry i of
# segments_info has entry i + 1; of an object that others cover there is none, which moves those after it. Numbers are first pixel (from 1) and length, row by row, where COCO's are lengths alone, column by column,
# and add up to the image's pixels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 pillow==13.0.0 transformers==5.24.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
from types import SimpleNamespace

import numpy as np
import torch
from transformers import Mask2FormerImageProcessor

SIZE = 384
classes = torch.full((1, 2, 3), 0.01)
masks = torch.full((1, 2, SIZE, SIZE), 1e-4)
for query, rows in enumerate((slice(100, 200), slice(150, 250))):
    classes[0, query, query] = 0.95 + query / 100
    masks[0, query, rows, 50:150] = 0.99
outputs = SimpleNamespace(class_queries_logits=classes.log(), masks_queries_logits=masks.logit())


def found(**form):
    return Mask2FormerImageProcessor().post_process_instance_segmentation(outputs, target_sizes=[(SIZE, SIZE)], **form)[0]


def decoded(counts):
    """The mask by what the numbers turn out to be."""
    mask = np.zeros(SIZE * SIZE, bool)
    for first, length in zip(counts[::2], counts[1::2]):
        mask[first - 1 : first - 1 + length] = True
    return mask.reshape(SIZE, SIZE)


maps = found(return_binary_maps=True)
print("objects", len(maps["segments_info"]), "areas", [int(mask.sum()) for mask in maps["segmentation"]])
runs = found(return_coco_annotation=True)["segmentation"]
print("encodings", len(runs), "areas", [int(decoded(counts).sum()) for counts in runs])
print("of the last: numbers", runs[-1][:4], "sum", sum(runs[-1]), "of", SIZE * SIZE, "pixels")
PY
)
echo "$seen"
[ "$seen" = "objects 2 areas [10000, 10000]
encodings 3 areas [132456, 5000, 10000]
of the last: numbers [38451, 100, 38835, 100] sum 5755900 of 147456 pixels" ]
