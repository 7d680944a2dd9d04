"""Mask R-CNN: torchvision's, given the same weights and images; freshly made with learnt layers it is the plain one."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import MaskRCNN
from torchvision.ops import MultiScaleRoIAlign

from dcnrun.config.schema import ConvKind, RoiPool
from tests.tasks.detection.factories import (
    CLASSES,
    PYRAMID,
    TORCHVISION_ANCHORS,
    assert_detections_are_theirs,
    assert_losses_are_theirs,
    built,
    detections,
    image,
    nothing,
    torchvisions,
)
from tests.tasks.detection.factories import losses as losses_of
from tests.tasks.instances.factories import dilated_c5, losses, mask_rcnn, object_masks

OURS = mask_rcnn(
    anchor_sizes=TORCHVISION_ANCHORS,
    roi_size=7,
    roi_channels=1024,
    score_threshold=0.01,
    mask_roi_size=14,
    mask_channels=256,
)
PLAIN, DEFORMABLE, MODULATED = RoiPool
POOLINGS = [
    (mask_rcnn, DEFORMABLE, PLAIN),
    (mask_rcnn, PLAIN, MODULATED),
    (mask_rcnn, MODULATED, MODULATED),
    (dilated_c5, DEFORMABLE, DEFORMABLE),
]


def theirs_of(network):
    return torchvisions(MaskRCNN, network, mask_roi_pool=MultiScaleRoIAlign(PYRAMID, output_size=14, sampling_ratio=2))


def test_losses_are_torchvisions():
    network = built(OURS)
    assert_losses_are_theirs(network, theirs_of(network), first=1, masks=object_masks(128, 128))


def test_detections_are_torchvisions():
    assert_detections_are_theirs(built(OURS), theirs_of, first=1, masks=object_masks(128, 128))


@pytest.mark.parametrize(("make", "box", "mask"), POOLINGS)
def test_a_fresh_network_with_learnt_layers_equals_the_plain_one(make, box, mask):
    """With masks of offsets that start at 1. All kinds start with the same shared weights."""
    model = make(roi_pool=box, mask_roi_pool=mask, score_threshold=0.001)
    plain = built(replace(model, roi_pool=PLAIN, mask_roi_pool=PLAIN), layers="0")
    learnt = built(model, ConvKind.modulated if box is mask else ConvKind.deformable, layers="c4-c5")
    states = plain.state_dict(), learnt.state_dict()
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())
    wanted = losses(plain)
    assert "loss_mask" in wanted
    for name, value in losses(learnt).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-5)
    for a, b in zip(detections(plain), detections(learnt), strict=True):
        assert 0 < len(a["scores"]) == len(b["scores"])
        torch.testing.assert_close(a["scores"], b["scores"], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(a["masks"], b["masks"], rtol=1e-3, atol=1e-3)


def test_poolings_are_set_apart():
    heads = built(mask_rcnn(roi_pool=RoiPool.deformable, mask_roi_pool=RoiPool.modulated)).roi_heads
    assert [type(pool).__name__ for pool in (heads.box_roi_pool, heads.mask_roi_pool)] == [
        "DeformRoIPool",
        "ModulatedDeformRoIPool",
    ]
    assert (heads.box_roi_pool.output_size, heads.mask_roi_pool.output_size) == ((3, 3), (4, 4))


@pytest.mark.slow
def test_a_mask_is_learnt_from():
    """A triangle in its box: no answer that is the same for all cells has a loss below that of the share it covers."""
    network = built(mask_rcnn(anchor_sizes=[16, 24, 32, 48, 64]))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    boxes, labels = [torch.tensor([[10.0, 10.0, 50.0, 50.0]])] * 2, [torch.tensor([1])] * 2
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[0, 10:50, 10:50] = torch.ones(40, 40).tril()
    course = []
    for _ in range(15):
        parts = losses_of(network, boxes, labels, image(2, 64, 64), None, masks=[mask] * 2)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        course.append(parts["loss_mask"].item())
    assert course[-1] < 0.6 * math.log(2)


@pytest.mark.parametrize("pool", list(RoiPool))
def test_images_without_objects(pool):
    """Their losses are finite, and every parameter has a gradient, which DDP waits for."""
    network = built(mask_rcnn(roi_pool=pool, mask_roi_pool=pool), ConvKind.modulated)
    empty = torch.zeros(0, 64, 96, dtype=torch.uint8)
    parts = losses_of(network, *nothing(), masks=[empty] * 2)
    assert parts["loss_mask"] == 0
    sum(parts.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_nothing_found_has_no_masks():
    (found,) = detections(built(mask_rcnn(score_threshold=1.0, mask_roi_pool=RoiPool.modulated)), image(1), None)
    assert found["masks"].shape == (0, 1, 8, 8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masks_stay_precise_under_autocast(dtype):
    network = built(mask_rcnn(score_threshold=0.0))
    with torch.autocast("cpu", dtype):
        mixed, found = losses(network), detections(network)
    wanted = losses(network)
    assert mixed["loss_mask"].dtype == torch.float32
    torch.testing.assert_close(mixed["loss_mask"], wanted["loss_mask"], rtol=0.05, atol=0.02)
    masks = found[0]["masks"]
    assert masks.dtype == torch.float32
    assert not torch.equal(masks, masks.bfloat16().float())


@pytest.mark.parametrize("pool", [RoiPool.align, RoiPool.deformable])
def test_cost_counted_without_computing_is_that_of_computing(pool):
    def cost(device, **model):
        network = built(mask_rcnn(mask_roi_pool=pool, **model), ConvKind.deformable).eval()
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            network.to(device).dense_forward(torch.zeros(1, 3, 64, 96, device=device))
        return counter.get_total_flops()

    assert cost("cpu") == cost("meta") > 0
    if pool is RoiPool.align:
        pooling = 8 * 4 * 16 * 4 * 4  # four bilinear samples of each channel in each bin
        layers = 4 * 4 * 9 * (16 * 8 + 3 * 8 * 8)
        upsampled = 4 * 4 * 4 * 8 * 8 + 8 * 8 * 8 * (CLASSES + 1)
        assert cost("meta", detections_per_image=30) - cost("meta", detections_per_image=20) == 10 * (
            pooling + 2 * (layers + upsampled)
        )
