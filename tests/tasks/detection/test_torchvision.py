"""The detectors against torchvision's own models, given the same weights and images."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from tests.tasks.detection.networks import CLASSES, built, detections, faster_rcnn, image, losses, objects, retinanet

SIZES = [(128, 128), (100, 128)]
RATIOS = ((0.5, 1.0, 2.0),) * 5
ANCHORS = [32, 64, 128, 256, 512]


class Maps(nn.Module):
    """Our backbone and neck as torchvision takes a backbone."""

    def __init__(self, network):
        super().__init__()
        self.maps = network.maps
        self.out_channels = 16

    def forward(self, image):
        return self.maps(image)


class NoTransform(nn.Module):
    """Images of a batch as they are."""

    def forward(self, images, targets=None):
        return ImageList(torch.stack(images), SIZES), targets

    def postprocess(self, found, sizes, original_sizes):
        return found


def theirs_of_faster_rcnn(network):
    theirs = FasterRCNN(
        Maps(network),
        CLASSES + 1,
        rpn_anchor_generator=AnchorGenerator(tuple((size,) for size in ANCHORS), RATIOS),
        rpn_pre_nms_top_n_train=40,
        rpn_post_nms_top_n_train=20,
        rpn_pre_nms_top_n_test=20,
        rpn_post_nms_top_n_test=20,
        rpn_batch_size_per_image=32,
        box_batch_size_per_image=16,
        box_score_thresh=0.01,
        box_roi_pool=MultiScaleRoIAlign(["p2", "p3", "p4", "p5"], output_size=7, sampling_ratio=2),
    )
    theirs.rpn.load_state_dict(network.rpn.state_dict())
    theirs.roi_heads.load_state_dict(network.roi_heads.state_dict())
    return theirs


def theirs_of_retinanet(network):
    sizes = tuple((size, size * 2 ** (1 / 3), size * 2 ** (2 / 3)) for size in ANCHORS)
    theirs = RetinaNet(
        Maps(network),
        CLASSES,
        anchor_generator=AnchorGenerator(sizes, RATIOS),
        score_thresh=0.01,
        detections_per_img=100,
    )
    theirs.head.load_state_dict(network.head.state_dict())
    return theirs


OURS = {
    "faster_rcnn": faster_rcnn(anchor_sizes=ANCHORS, roi_size=7, roi_channels=1024, score_threshold=0.01),
    "retinanet": retinanet(anchor_sizes=ANCHORS, score_threshold=0.01),
}
THEIRS = {"faster_rcnn": theirs_of_faster_rcnn, "retinanet": theirs_of_retinanet}
NAMES = {"classification": "loss_classifier", "bbox_regression": "loss_box_reg"}


@pytest.mark.parametrize("name", list(OURS))
def test_losses_are_torchvisions(name):
    network, (boxes, labels) = built(OURS[name]), objects()
    theirs = THEIRS[name](network)
    theirs.transform = NoTransform()
    images = image(2, 128, 128)
    ours = losses(network, boxes, labels, images, SIZES)
    first = 1 if name == "faster_rcnn" else 0
    torch.manual_seed(0)
    wanted = theirs.train()(
        list(images), [{"boxes": b, "labels": c + first} for b, c in zip(boxes, labels, strict=True)]
    )
    assert {NAMES.get(part, part) for part in wanted} == set(ours)
    for part, value in wanted.items():
        torch.testing.assert_close(ours[NAMES.get(part, part)], value)


@pytest.mark.parametrize("name", list(OURS))
def test_detections_are_torchvisions(name):
    network = built(OURS[name])
    losses(network, *objects(), image(2, 128, 128), SIZES)  # moves the normalisation's statistics
    theirs = THEIRS[name](network)
    theirs.transform = NoTransform()
    images = image(2, 128, 128)
    ours = detections(network, images, SIZES)
    with torch.no_grad():
        wanted = theirs.eval()(list(images))
    first = 1 if name == "faster_rcnn" else 0
    for a, b in zip(ours, wanted, strict=True):
        assert len(a["scores"])
        torch.testing.assert_close(a["boxes"], b["boxes"])
        torch.testing.assert_close(a["scores"], b["scores"])
        assert torch.equal(a["labels"] + first, b["labels"])
