"""dcnrun's operators made of PyTorch's own give what torchvision's deformable convolution gives."""

import pytest
import torch
import torchvision

from dcnrun.errors import DcnrunError
from dcnrun.export.decompositions import DECOMPOSITIONS
from dcnrun.export.detectors import suppress
from dcnrun.ops import deform_roi_pool

DEFORM_CONV = DECOMPOSITIONS[torch.ops.dcnrun.deform_conv2d.default]
DEFORM_SAMPLE = DECOMPOSITIONS[torch.ops.dcnrun.deform_sample2d.default]
ROI_POOL = DECOMPOSITIONS[torch.ops.dcnrun.deform_roi_pool.default]
SUPPRESS = DECOMPOSITIONS[torch.ops.dcnrun.suppress.default]

# Channels, channels out, groups, offset groups, kernel, stride, padding, dilation, size of the map.
GEOMETRIES = {
    "3x3": (4, 5, 1, 1, (3, 3), (1, 1), (1, 1), (1, 1), (9, 7)),
    "groups": (6, 4, 2, 3, (3, 3), (1, 1), (1, 1), (1, 1), (8, 8)),
    "y is not x": (4, 3, 1, 2, (2, 3), (2, 1), (0, 2), (1, 3), (11, 9)),
    "one row": (3, 3, 1, 1, (1, 3), (1, 1), (0, 1), (1, 1), (1, 6)),
    "one column": (3, 3, 3, 1, (3, 1), (1, 1), (2, 0), (2, 1), (7, 1)),
}


def operands(name, groups):
    """Offsets that lead some samples half and wholly out of the map."""
    channels, out, _, _, kernel, stride, padding, dilation, size = GEOMETRIES[name]
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(2, channels, *size, generator=generator)
    places = [(size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)]
    points = groups * kernel[0] * kernel[1]
    offset = 3 * torch.randn(2, 2 * points, *places, generator=generator)
    mask = torch.randn(2, points, *places, generator=generator)
    return input, offset, mask, torch.randn(out, channels // GEOMETRIES[name][2], *kernel, generator=generator)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_deformable_convolution(name, modulated):
    stride, padding, dilation = map(list, GEOMETRIES[name][5:8])
    input, offset, mask, weight = operands(name, GEOMETRIES[name][3])
    bias = torch.arange(float(len(weight)))
    settings = bias, stride, padding, dilation, mask if modulated else None
    got = DEFORM_CONV(input, offset, weight, *settings)
    torch.testing.assert_close(
        got, torchvision.ops.deform_conv2d(input, offset, weight, *settings), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", GEOMETRIES)
def test_deformable_sampling(name):
    """It is a convolution with as many groups as channels, and weights of one."""
    kernel, stride, padding, dilation = map(list, GEOMETRIES[name][4:8])
    groups = GEOMETRIES[name][3]
    input, offset, mask, _ = operands(name, groups)
    ones = torch.ones(input.shape[1], 1, *kernel)
    got = DEFORM_SAMPLE(input, offset, mask, kernel, stride, padding, dilation, 1.0, False, False)
    wanted = torchvision.ops.deform_conv2d(input, offset, ones, None, stride, padding, dilation, mask)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_deformable_sampling_with_all_that_dcnv3_adds():
    """Factors are a softmax over eight points; offsets, and the points' distances from the centre, are doubled."""
    input, offset, logits, _ = operands("3x3", 1)
    without_centre = [0, 1, 2, 3, 5, 6, 7, 8]
    pairs = offset.unflatten(1, (9, 2))
    rows, columns = torch.meshgrid(torch.arange(-1.0, 2), torch.arange(-1.0, 2), indexing="ij")
    steps = torch.stack([rows, columns], -1).reshape(1, 9, 2, 1, 1)
    factors = torch.zeros_like(logits)
    factors[:, without_centre] = logits[:, without_centre].softmax(1)
    moved = (2 * (pairs + steps) - steps).flatten(1, 2)
    wanted = torchvision.ops.deform_conv2d(input, moved, torch.ones(4, 1, 3, 3), None, 1, 1, 1, factors)
    given = pairs[:, without_centre].flatten(1, 2), logits[:, without_centre]
    got = DEFORM_SAMPLE(input, *given, [3, 3], [1, 1], [1, 1], [1, 1], 2.0, True, True)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("learnt", [False, True])
def test_pooling_of_regions(learnt, aligned):
    """Regions within the map, over its edge, beyond it, smaller than a pixel; and none at all."""
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(1, 3, 9, 7, generator=generator)
    corners = [[2, 3, 20, 30], [-9, -4, 12, 13], [15, 20, 40, 60], [60, 60, 80, 90], [5, 5, 5.5, 5.2]]
    rois = torch.nn.functional.pad(torch.tensor(corners), (1, 0))
    size, scale, ratio, gamma = [2, 3], 0.25, 2, 0.3
    offset = torch.randn(5, 2, *size, generator=generator) if learnt else None
    mask = torch.rand(5, 1, *size, generator=generator) if learnt else None
    got = ROI_POOL(input, rois, offset, mask, size, scale, ratio, gamma, aligned, False)
    wanted = deform_roi_pool(input, rois, offset, tuple(size), scale, ratio, gamma, mask, aligned)
    if not learnt:
        wanted = torchvision.ops.roi_align(input, rois, size, scale, ratio, aligned)
    assert wanted[3].abs().max() == 0 < wanted[4].abs().max()
    torch.testing.assert_close(got, wanted)
    none = (None if each is None else each[:0] for each in (rois, offset, mask))
    assert ROI_POOL(input, *none, size, scale, ratio, gamma, aligned, False).shape == (0, 3, 2, 3)


def test_pooling_that_is_not_written():
    with pytest.raises(DcnrunError, match="with a given number of samples"):
        ROI_POOL(torch.randn(1, 3, 9, 7), torch.zeros(1, 5), None, None, [2, 3], 0.25, 0, 0.1, False, False)


def test_suppression():
    """In each group what torchvision keeps; in the last nothing counts."""
    generator = torch.Generator().manual_seed(0)
    corners = 40 * torch.rand(3, 60, 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(3, 60, 2, generator=generator)], -1)
    scores = torch.rand(3, 60, generator=generator) * torch.tensor([[1.0], [1.0], [0.2]])
    above = torch.tensor([0.2])
    with torch.no_grad():
        kept = SUPPRESS(boxes, scores, 0.3, above)
    assert torch.equal(kept, suppress(boxes, scores, 0.3, above))
    assert kept.sum(1)[0] > 5 < kept.sum(1)[1]
    assert not kept[2].any()
