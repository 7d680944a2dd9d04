"""Detectors as graphs of tensors find what the networks that they are made of find."""

import pytest
import torch
from torch import nn
from torchvision.ops import batched_nms

from dcnrun.config.schema import ConvKind, MaskRcnnConfig, RoiPool
from dcnrun.export.detectors import ExportableDetector, suppress
from dcnrun.models.sampling import sampling_layers
from tests.tasks.detection import factories


def mask_rcnn(**model):
    return MaskRcnnConfig(
        **(
            factories.SMALL
            | factories.SMALL_REGIONS
            | {"mask_channels": 8, "mask_roi_pool": RoiPool.deformable}
            | model
        )
    )


def detector(make, least_score, **model):
    """A network with offsets of some pixels that finds objects in noise."""
    network = factories.built(make(score_threshold=least_score, **model), ConvKind.modulated, "2")
    generator = torch.Generator().manual_seed(3)
    for layer in sampling_layers(network).values():
        for parameter in layer.offset_branch.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)
    for name, parameter in network.named_parameters():
        if "classification_head" in name and parameter.dim() > 1:  # else no score differs from another
            nn.init.normal_(parameter, std=0.05, generator=generator)
    return network.eval()


def found_by(network, image):
    """What the network finds in an image that is padded as evaluation does it."""
    height, width = image.shape[-2:]
    padded = nn.functional.pad(image, (0, -width % 32, 0, -height % 32))
    with torch.no_grad():
        return network(padded, [(height, width)])[0]


@pytest.mark.parametrize(
    ("make", "model"),
    [
        (factories.faster_rcnn, {"roi_pool": RoiPool.deformable}),
        (factories.dilated_c5, {}),
        (factories.retinanet, {}),
        (mask_rcnn, {"roi_pool": RoiPool.modulated}),
    ],
)
def test_it_finds_what_the_network_finds(make, model):
    network = detector(make, 0.005, **model)
    exportable = ExportableDetector(network)
    for height, width in [(64, 90), (33, 131)]:
        image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
        wanted = found_by(network, image)
        with torch.no_grad():
            found = dict(zip(exportable.exported_outputs, exportable(image), strict=True))
        assert len(wanted["scores"]) > 3
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value)


def test_where_nothing_is_sure_nothing_is_found():
    network = detector(mask_rcnn, 1.0)
    with torch.no_grad():
        found = ExportableDetector(network)(torch.randn(1, 3, 64, 64))
    assert [len(output) for output in found] == [0, 0, 0, 0]


def test_where_nothing_is_proposed_the_whole_image_is_looked_at():
    network = detector(factories.faster_rcnn, 0.0)
    nn.init.constant_(network.rpn.head.bbox_pred.bias, -30.0)  # boxes without a side
    image = torch.randn(1, 3, 64, 64)
    wanted = found_by(network, image)
    with torch.no_grad():
        boxes, scores, labels = ExportableDetector(network)(image)
    assert len(boxes) > 0
    for got, name in ((boxes, "boxes"), (scores, "scores"), (labels, "labels")):
        torch.testing.assert_close(got, wanted[name])


def test_suppression_in_each_group_alone():
    generator = torch.Generator().manual_seed(0)
    corners = 40 * torch.rand(3, 60, 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(3, 60, 2, generator=generator)], -1)
    scores = torch.rand(3, 60, generator=generator)
    kept = suppress(boxes, scores, 0.3, torch.tensor([0.2]))
    group = torch.arange(3)[:, None].expand(3, 60)[scores > 0.2]
    indices = (scores > 0.2).flatten().nonzero()[:, 0]
    wanted = indices[batched_nms(boxes[scores > 0.2], scores[scores > 0.2], group, 0.3)]
    assert sorted(wanted.tolist()) == kept.flatten().nonzero()[:, 0].tolist()
    assert 0 < kept.sum() < (scores > 0.2).sum()
