"""RetinaNet against torchvision's own model, given the same weights and images."""

from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator

from tests.tasks.detection.factories import (
    CLASSES,
    TORCHVISION_ANCHORS,
    TORCHVISION_RATIOS,
    Maps,
    assert_detections_are_theirs,
    assert_losses_are_theirs,
    built,
    retinanet,
)

OURS = retinanet(anchor_sizes=TORCHVISION_ANCHORS, score_threshold=0.01)


def theirs_of(network):
    sizes = tuple((size, size * 2 ** (1 / 3), size * 2 ** (2 / 3)) for size in TORCHVISION_ANCHORS)
    theirs = RetinaNet(
        Maps(network),
        CLASSES,
        anchor_generator=AnchorGenerator(sizes, TORCHVISION_RATIOS),
        score_thresh=0.01,
        detections_per_img=100,
    )
    theirs.head.load_state_dict(network.head.state_dict())
    return theirs


def test_losses_are_torchvisions():
    network = built(OURS)
    assert_losses_are_theirs(network, theirs_of(network), first=0)


def test_detections_are_torchvisions():
    assert_detections_are_theirs(built(OURS), theirs_of, first=0)
