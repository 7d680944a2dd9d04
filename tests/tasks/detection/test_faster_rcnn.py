"""Faster R-CNN against torchvision's own model, given the same weights and images."""

from torchvision.models.detection import FasterRCNN

from tests.tasks.detection.factories import (
    TORCHVISION_ANCHORS,
    assert_detections_are_theirs,
    assert_losses_are_theirs,
    built,
    faster_rcnn,
    torchvisions,
)

OURS = faster_rcnn(anchor_sizes=TORCHVISION_ANCHORS, roi_size=7, roi_channels=1024, score_threshold=0.01)


def theirs_of(network):
    return torchvisions(FasterRCNN, network)


def test_losses_are_torchvisions():
    network = built(OURS)
    assert_losses_are_theirs(network, theirs_of(network), first=1)


def test_detections_are_torchvisions():
    assert_detections_are_theirs(built(OURS), theirs_of, first=1)
