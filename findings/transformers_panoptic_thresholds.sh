#!/usr/bin/env bash
# transformers 5.24.0: post_process_panoptic_segmentation of MaskFormer, Mask2Former and OneFormer gives pixels that are in no mask to a segment, and drops segments whose mask and class are both above their thresholds.
#
# Guess: a pixel belongs to a segment where the mask's probability is at least mask_threshold, as in the papers' code and in this library's own EoMT; a segment stays whose class is more probable than
# threshold and whose mask is somewhere above mask_threshold.
# Seen: each pixel goes to the mask that is most probable there, however improbable: two squares that are found with certainty become the whole image. Probabilities of a mask are multiplied by that of its class before
# they are compared with mask_threshold: with both at 0.5, a class of 0.6 and a mask of 0.8 are dropped. Where every pixel of an image has a class (COCO's panoptic format), the former hardly shows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 pillow==13.0.0 transformers==5.24.0
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
from types import SimpleNamespace

import torch
from transformers import EomtImageProcessor, Mask2FormerImageProcessor, MaskFormerImageProcessor, OneFormerImageProcessor

CLASSES = 3


def outputs(class_probability, mask_probability):
    """Two queries, a square of 100 x 100 each, of class 0 and 1; the last class is none at all."""
    classes = torch.full((1, 2, CLASSES + 1), (1 - class_probability) / CLASSES)
    masks = torch.full((1, 2, 384, 384), 1e-4)
    for query, start in enumerate((20, 200)):
        classes[0, query, query] = class_probability
        masks[0, query, start : start + 100, start : start + 100] = mask_probability
    return SimpleNamespace(class_queries_logits=classes.log(), masks_queries_logits=masks.logit())


for processor in (
    EomtImageProcessor(),
    MaskFormerImageProcessor(),
    Mask2FormerImageProcessor(),
    OneFormerImageProcessor(num_text=0, repo_path=None, class_info_file=None),
):
    areas = []
    for probabilities in ((0.99, 0.99), (0.6, 0.8)):
        found = processor.post_process_panoptic_segmentation(
            outputs(*probabilities), threshold=0.5, mask_threshold=0.5, target_sizes=[(384, 384)]
        )[0]
        areas.append([int((found["segmentation"] == segment["id"]).sum()) for segment in found["segments_info"]])
    print(type(processor).__name__, *areas)
PY
)
echo "$seen"
[ "$seen" = "EomtImageProcessor [10000, 10000] [9604, 9604]
MaskFormerImageProcessor [137456, 10000] []
Mask2FormerImageProcessor [137456, 10000] []
OneFormerImageProcessor [137456, 10000] []" ]
