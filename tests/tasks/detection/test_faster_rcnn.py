"""Faster R-CNN against torchvision's own model, given the same weights and images."""

from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from tests.tasks.detection.factories import (
    CLASSES,
    TORCHVISION_ANCHORS,
    TORCHVISION_RATIOS,
    Maps,
    assert_detections_are_theirs,
    assert_losses_are_theirs,
    built,
    faster_rcnn,
)

OURS = faster_rcnn(anchor_sizes=TORCHVISION_ANCHORS, roi_size=7, roi_channels=1024, score_threshold=0.01)


def theirs_of(network):
    theirs = FasterRCNN(
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
        box_roi_pool=MultiScaleRoIAlign(["p2", "p3", "p4", "p5"], output_size=7, sampling_ratio=2),
    )
    theirs.rpn.load_state_dict(network.rpn.state_dict())
    theirs.roi_heads.load_state_dict(network.roi_heads.state_dict())
    return theirs


def test_losses_are_torchvisions():
    network = built(OURS)
    assert_losses_are_theirs(network, theirs_of(network), first=1)


def test_detections_are_torchvisions():
    assert_detections_are_theirs(built(OURS), theirs_of, first=1)
