"""Small networks for masks with what they are trained on; and detections and objects with masks, drawn at random."""

import dataclasses

import numpy as np
import torch

from dcnrun.config.schema import MaskRcnnConfig
from dcnrun.data.coco_masks import encode
from tests.tasks.detection import factories as detection
from tests.tasks.detection.factories import SMALL, SMALL_REGIONS, objects

MASKS = {"mask_roi_size": 4, "mask_channels": 8}


def mask_rcnn(**model):
    return MaskRcnnConfig(**(SMALL | SMALL_REGIONS | MASKS | model))


def dilated_c5(**model):
    return mask_rcnn(fpn=False, output_stride=16, **model)


def ellipses(boxes, height, width):
    """Masks (n, H, W) of what fills each box as an ellipse does."""
    y, x = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
    masks = []
    for x1, y1, x2, y2 in boxes.tolist():
        masks.append(((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1)
    return torch.stack(masks).byte() if masks else torch.zeros(0, height, width, dtype=torch.uint8)


def object_masks(height=64, width=96):
    """Of the objects of detectors' tests."""
    return [ellipses(boxes, height, width) for boxes in objects()[0]]


def losses(network, **given):
    """With the objects of detectors' tests."""
    return detection.losses(network, *objects(), masks=object_masks(), **given)


def results(seed, images=8):
    """Those of detectors' tests with masks: blobs that fill boxes in part, some over others of their image."""
    rng = np.random.default_rng(seed)
    return [_with_masks(rng, image) for image in detection.results(seed, images)]


def _with_masks(rng, image):
    own = {}
    for name, boxes in (("masks", image.boxes), ("object_masks", image.object_boxes)):
        filled = ellipses(torch.tensor(boxes), *image.size).bool().numpy()
        holes = rng.random((len(boxes), 3)) < 0.5
        for mask, (x1, y1, x2, y2), (low, left, all_of_it) in zip(filled, boxes.astype(int), holes, strict=True):
            if all_of_it:
                mask[y1:y2, x1:x2] = True
            elif low:
                mask[(y1 + y2) // 2 :] = False
            elif left:
                mask[:, : (x1 + x2) // 2] = False
        own[name] = [encode(mask) for mask in filled]
    return dataclasses.replace(image, **own)
