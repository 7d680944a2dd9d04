"""Small detectors with what they are trained on; and detections and objects drawn at random, with all that scoring has a rule for."""

import numpy as np
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from dcnrun.config.schema import ConvConfig, ConvKind, FasterRcnnConfig, RetinaNetConfig
from dcnrun.models.convert import convert
from dcnrun.tasks.detection.coco import ImageResult
from dcnrun.tasks.registry import ARCHITECTURES

CLASSES = 3
SIZES = [(64, 90), (50, 96)]  # in a batch padded to 64 x 96
SMALL = {"width": 8, "fpn_channels": 16, "anchor_sizes": [8, 16, 32, 64, 128]}
SMALL_REGIONS = {"roi_size": 3, "roi_channels": 32, "rpn_batch": 32, "roi_batch": 16, "proposals": 20}


def faster_rcnn(**model):
    return FasterRcnnConfig(**(SMALL | SMALL_REGIONS | model))


def dilated_c5(**model):
    return faster_rcnn(fpn=False, output_stride=16, **model)


def retinanet(**model):
    return RetinaNetConfig(**(SMALL | model))


MODELS = {"faster_rcnn": faster_rcnn, "dilated_c5": dilated_c5, "retinanet": retinanet}


def built(model, kind=ConvKind.standard, layers="3", seed=0):
    """As a run builds it."""
    conv = ConvConfig(kind=kind, layers=layers, dilation=2 if kind is ConvKind.dilated else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ARCHITECTURES[model.head].build(model, num_classes=CLASSES, bands=3)
    convert(network.backbone, conv, seed)
    return network


def image(batch=2, height=64, width=96):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return torch.randn(batch, 3, height, width)


def objects():
    """Boxes and labels of two images; the first has one that reaches over the image's edge, the second a tiny one."""
    boxes = [torch.tensor([[3.0, 4.0, 30.0, 40.0], [50.0, -6.0, 95.0, 30.0]]), torch.tensor([[10.0, 10.0, 11.5, 12.0]])]
    return boxes, [torch.tensor([0, 2]), torch.tensor([1])]


def nothing(batch=2):
    return [torch.zeros(0, 4)] * batch, [torch.zeros(0, dtype=torch.long)] * batch


def targets(boxes, labels, masks=None, first=0):
    """What a detector learns from; `first` is the number of the first class."""
    found = [{"boxes": b, "labels": c + first} for b, c in zip(boxes, labels, strict=True)]
    return found if masks is None else [{**one, "masks": m} for one, m in zip(found, masks, strict=True)]


def losses(network, boxes, labels, images=None, sizes=SIZES, seed=0, masks=None):
    """With the same anchors and regions drawn each time."""
    torch.manual_seed(seed)
    network.train()
    return network(image() if images is None else images, sizes, targets(boxes, labels, masks))


def detections(network, images=None, sizes=SIZES):
    with torch.no_grad():
        return network.eval()(image() if images is None else images, sizes)


CLASS_NAMES = ("tree", "house", "dog", "never there")
IDS = (7, 3, 90, 12)  # in another order than the classes


def category_id(label: int) -> int:
    return IDS[label]


def results(seed: int, images: int = 12, many: bool = False) -> list[ImageResult]:
    """Whole coordinates and coarse scores, for overlaps at the thresholds and ties; objects of all sizes.

    Some images have no object, some no detection; image ids are not in the order of the images.
    """
    rng = np.random.default_rng(seed)
    ids = 1 + rng.permutation(3 * images)[:images]
    return [_result(rng, f"image {i:03d}", int(ids[i]), many) for i in range(images)]


def _result(rng: np.random.Generator, name: str, image_id: int, many: bool) -> ImageResult:
    objects = int(rng.choice([0, 1, 3, 8]))
    there = _boxes(rng, objects)
    labels = rng.integers(0, 3, objects)
    near = there[rng.integers(0, objects, 3 * objects)] if objects else there
    near = near + rng.integers(-3, 4, near.shape) * rng.integers(0, 3, (len(near), 1))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    far = _boxes(rng, 250 if many else int(rng.integers(0, 12)))
    found = np.concatenate([near, far]) if rng.random() < 0.85 else there[:0]
    found_labels = rng.integers(0, 4, len(found)) * (rng.random(len(found)) < (0.2 if many else 0.6))
    areas = (there[:, 2:] - there[:, :2]).prod(axis=1) * rng.choice([1, 0.6], objects)
    return ImageResult(
        name=name,
        image_id=image_id,
        size=(300, 400),
        boxes=found.astype(np.float64),
        scores=rng.integers(1, 20, len(found)) / 20,
        labels=found_labels.astype(np.int64),
        object_boxes=there.astype(np.float64),
        object_labels=labels.astype(np.int64),
        object_areas=areas.astype(np.float64),
        crowd=rng.random(objects) < 0.15,
        difficult=rng.random(objects) < 0.2,
    )


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.integers(0, 200, (count, 2))
    size = np.maximum(rng.choice([8, 24, 60, 150], (count, 1)) + rng.integers(-4, 5, (count, 2)), 1)
    return np.concatenate([corner, corner + size], axis=1)


# Both detectors beside torchvision's own, whose backbone takes the images as they are.

TORCHVISION_SIZES = [(128, 128), (100, 128)]
TORCHVISION_RATIOS = ((0.5, 1.0, 2.0),) * 5
TORCHVISION_ANCHORS = [32, 64, 128, 256, 512]
PYRAMID = ["p2", "p3", "p4", "p5"]
"""The maps that regions are pooled from."""
_NAMES = {"classification": "loss_classifier", "bbox_regression": "loss_box_reg"}


class Maps(nn.Module):
    """Our backbone and neck as torchvision takes a backbone."""

    def __init__(self, network):
        super().__init__()
        self.maps = network.maps
        self.out_channels = 16

    def forward(self, image):
        return self.maps(image)


def torchvisions(kind, network, **more):
    """torchvision's Faster R-CNN, or a subclass of it, with the weights of a network of ours."""
    theirs = kind(
        Maps(network),
        CLASSES + 1,
        rpn_anchor_generator=AnchorGenerator(tuple((size,) for size in TORCHVISION_ANCHORS), TORCHVISION_RATIOS),
        rpn_pre_nms_top_n_train=40,
        rpn_post_nms_top_n_train=20,
        rpn_pre_nms_top_n_test=20,
        rpn_post_nms_top_n_test=20,
        rpn_batch_size_per_image=32,
        box_batch_size_per_image=16,
        box_score_thresh=0.01,
        box_roi_pool=MultiScaleRoIAlign(PYRAMID, output_size=7, sampling_ratio=2),
        **more,
    )
    theirs.rpn.load_state_dict(network.rpn.state_dict())
    theirs.roi_heads.load_state_dict(network.roi_heads.state_dict())
    return theirs


class NoTransform(nn.Module):
    """Images of a batch as they are."""

    def forward(self, images, targets=None):
        return ImageList(torch.stack(images), TORCHVISION_SIZES), targets

    def postprocess(self, found, sizes, original_sizes):
        return found


def assert_losses_are_theirs(network, theirs, first, masks=None):
    """`first` is the number of the first class with torchvision."""
    boxes, labels = objects()
    theirs.transform = NoTransform()
    images = image(2, 128, 128)
    ours = losses(network, boxes, labels, images, TORCHVISION_SIZES, masks=masks)
    torch.manual_seed(0)
    wanted = theirs.train()(list(images), targets(boxes, labels, masks, first))
    assert {_NAMES.get(part, part) for part in wanted} == set(ours)
    for part, value in wanted.items():
        torch.testing.assert_close(ours[_NAMES.get(part, part)], value)


def assert_detections_are_theirs(network, theirs_of, first, masks=None):
    # Moves the normalisation's statistics.
    losses(network, *objects(), image(2, 128, 128), TORCHVISION_SIZES, masks=masks)
    theirs = theirs_of(network)
    theirs.transform = NoTransform()
    images = image(2, 128, 128)
    ours = detections(network, images, TORCHVISION_SIZES)
    with torch.no_grad():
        wanted = theirs.eval()(list(images))
    for a, b in zip(ours, wanted, strict=True):
        assert len(a["scores"])
        # Regions are pooled by another implementation, whose last bits depend on the CPU: corners, which are sums of numbers as
        # large as the image, may differ in theirs, and masks by what four convolutions make of it.
        torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1.3e-6, atol=2 * 128 * torch.finfo(torch.float32).eps)
        torch.testing.assert_close(a["scores"], b["scores"])
        assert torch.equal(a["labels"] + first, b["labels"])
        if masks is not None:
            torch.testing.assert_close(a["masks"], b["masks"], rtol=1e-4, atol=1e-4)
