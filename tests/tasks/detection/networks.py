"""Small detectors and images for the tests of networks."""

import torch

from dcnrun.config.schema import ConvConfig, ConvKind, FasterRcnnConfig, RetinaNetConfig
from dcnrun.models.backbones import build_backbone
from dcnrun.models.convert import convert
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
        backbone = build_backbone(model)
        network = ARCHITECTURES[model.head].build(model, backbone, CLASSES)
    convert(backbone, conv, seed)
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


def losses(network, boxes, labels, images=None, sizes=SIZES, seed=0):
    """With the same anchors and regions drawn each time."""
    torch.manual_seed(seed)
    network.train()
    return network(image() if images is None else images, sizes, boxes, labels)


def detections(network, images=None, sizes=SIZES):
    with torch.no_grad():
        return network.eval()(image() if images is None else images, sizes)
