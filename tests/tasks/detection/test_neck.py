"""Anchors lie where the features look, and regions are pooled from where they are, whatever the output stride."""

import math
from dataclasses import replace

import pytest
import torch
from torchvision.models.detection.image_list import ImageList

from dcnrun.config.schema import RoiPool
from tests.tasks.detection.factories import MODELS, built, dilated_c5, faster_rcnn, retinanet

STRIDES = {
    ("faster_rcnn", 32): {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "pool": 64},
    ("faster_rcnn", 16): {"p2": 4, "p3": 8, "p4": 16, "p5": 16, "pool": 32},
    ("faster_rcnn", 8): {"p2": 4, "p3": 8, "p4": 8, "p5": 8, "pool": 16},
    ("retinanet", 32): {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128},
    ("retinanet", 16): {"p3": 8, "p4": 16, "p5": 16, "p6": 32, "p7": 64},
    ("dilated_c5", 16): {"c4": 16, "c5": 16},
}


def anchors_of(network, images):
    """By map: its number of anchors at a pixel, and all of them as (height, width, anchors, 4)."""
    maps = network.maps(images)
    proposing = [maps[name] for name in getattr(network, "proposing", maps)]
    generator = network.rpn.anchor_generator if hasattr(network, "rpn") else network.anchor_generator
    flat = generator(ImageList(images, [images.shape[-2:]] * len(images)), proposing)
    assert all(torch.equal(each, flat[0]) for each in flat)
    per_pixel = generator.num_anchors_per_location()
    counts = [each.shape[-2] * each.shape[-1] * n for each, n in zip(proposing, per_pixel, strict=True)]
    return [
        part.view(*each.shape[-2:], n, 4)
        for part, each, n in zip(flat[0].split(counts), proposing, per_pixel, strict=True)
    ]


@pytest.mark.parametrize(("name", "output_stride"), list(STRIDES))
@pytest.mark.parametrize("size", [(96, 160), (70, 33)])
def test_anchors_are_at_the_maps_true_strides(name, output_stride, size):
    """Also for maps that were rounded up: 96 pixels have a p5 of 3 and a p6 of 2 pixels, 64 apart and not 48."""
    network = built(MODELS[name](output_stride=output_stride) if name != "dilated_c5" else dilated_c5()).eval()
    strides = STRIDES[name, output_stride]
    assert network.neck.strides == strides
    proposing = [strides[level] for level in getattr(network, "proposing", strides)]
    for anchors, stride in zip(anchors_of(network, torch.zeros(2, 3, *size)), proposing, strict=True):
        height, width = anchors.shape[:2]
        assert (height, width) == (-(-size[0] // stride), -(-size[1] // stride))
        centres = (anchors[..., :2] + anchors[..., 2:]) / 2
        rows, columns = torch.arange(height) * stride, torch.arange(width) * stride
        assert torch.equal(centres[..., 1], rows[:, None, None].expand_as(centres[..., 1]).float())
        assert torch.equal(centres[..., 0], columns[None, :, None].expand_as(centres[..., 0]).float())


def sides(anchors):
    """Of the anchors at the first pixel: the square root of the area, and height over width."""
    width, height = (anchors[0, 0, :, 2:] - anchors[0, 0, :, :2]).unbind(1)
    return (width * height).sqrt(), height / width


def test_the_topmost_kernel_learns_from_a_single_pixel_in_bf16_too():
    """All but the kernel's centre sees padding alone: its gradient is 0, not what the memory held before."""
    network = built(retinanet())
    kernel = network.neck.extra_blocks.p7.weight
    freed = [torch.full(kernel.shape, math.nan, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)] * 4
    with torch.autocast("cpu", torch.bfloat16):
        p7 = network.maps(torch.randn(2, 3, 64, 64))["p7"]
    del freed
    p7.float().square().sum().backward()
    assert p7.shape[-2:] == (1, 1)
    centre = torch.zeros(3, 3, dtype=torch.bool)
    centre[1, 1] = True
    assert (kernel.grad[..., ~centre] == 0).all()
    assert (kernel.grad[..., centre] != 0).any()


def test_sizes_and_ratios():
    sizes = [64, 128, 256, 512, 1024]  # large, so that rounding to whole pixels hardly shows
    images = torch.zeros(1, 3, 64, 64)
    for size, anchors in zip(sizes, anchors_of(built(faster_rcnn(anchor_sizes=sizes)).eval(), images), strict=True):
        side, ratio = sides(anchors)
        torch.testing.assert_close(side, torch.full((3,), float(size)), rtol=0.02, atol=0)
        torch.testing.assert_close(ratio, torch.tensor([0.5, 1.0, 2.0]), rtol=0.04, atol=0)
    for size, anchors in zip(sizes, anchors_of(built(retinanet(anchor_sizes=sizes)).eval(), images), strict=True):
        octaves = size * 2 ** (torch.tensor([0.0, 1.0, 2.0]) / 3)
        torch.testing.assert_close(sides(anchors)[0].sort().values, octaves.repeat_interleave(3), rtol=0.02, atol=0)
    (anchors,) = anchors_of(built(dilated_c5(anchor_sizes=sizes)).eval(), images)
    wanted = torch.tensor(sizes).repeat_interleave(3).float()
    torch.testing.assert_close(sides(anchors)[0].sort().values, wanted, rtol=0.02, atol=0)


@pytest.mark.parametrize("pool", list(RoiPool))
@pytest.mark.parametrize(
    "model", [faster_rcnn(), faster_rcnn(output_stride=16), faster_rcnn(output_stride=8), dilated_c5()]
)
def test_regions_are_pooled_from_where_they_are(model, pool):
    """On maps that hold each pixel's own column a region's mean is its centre's, from whichever level it is pooled.

    The images are small and padded, where scales that are guessed from sizes come out wrong.
    """
    network = built(replace(model, roi_pool=pool)).eval()
    maps = {
        name: (torch.arange(512 // stride) * stride).float().expand(2, 16, 512 // stride, -1).contiguous()
        for name, stride in network.neck.strides.items()
    }
    boxes = [torch.tensor([[40.0, 60.0, 58.0, 80.0], [30, 30, 100, 90]]), torch.tensor([[100.0, 60.0, 300.0, 300.0]])]
    network.roi_heads.box_roi_pool(maps, [boxes[0][:1], boxes[0][:1]], [(40, 40), (33, 50)])
    pooled = network.roi_heads.box_roi_pool(maps, boxes, [(512, 512), (400, 512)])
    centres = torch.cat([(each[:, 0] + each[:, 2]) / 2 for each in boxes])
    assert pooled.shape == (3, 16, 3, 3)
    torch.testing.assert_close(pooled.mean((1, 2, 3)), centres, rtol=0, atol=1e-3)


@pytest.mark.parametrize("pool", list(RoiPool))
@pytest.mark.parametrize("output_stride", [16, 32])
@pytest.mark.parametrize("base", [8, 32])
def test_large_regions_are_pooled_from_coarse_levels(pool, output_stride, base):
    """Equation 1 of Lin et al. 2017: floor(4 + log2(side / 224)) for anchors from 32 pixels on, within p2 to p5."""
    sizes = [base * 2**level for level in range(5)]
    network = built(faster_rcnn(anchor_sizes=sizes, output_stride=output_stride, roi_pool=pool)).eval()
    maps = {
        name: torch.full((1, 16, 1024 // stride, 1024 // stride), float(level))
        for level, (name, stride) in enumerate(network.neck.strides.items(), start=2)
    }
    lengths = torch.tensor([5.0, 20, 30, 60, 110, 120, 230, 400, 460, 900])
    boxes = torch.cat([torch.full((10, 2), 10.0), 10 + lengths[:, None].expand(-1, 2)], dim=1)
    pooled = network.roi_heads.box_roi_pool(maps, [boxes], [(1024, 1024)])
    levels = [min(max(math.floor(4 + math.log2(side / (224 * base / 32))), 2), 5) for side in lengths.tolist()]
    assert pooled.mean((1, 2, 3)).tolist() == pytest.approx(levels)
