"""dcnrun's operators made of PyTorch's own give what torchvision's deformable convolution gives."""

import pytest
import torch
import torchvision

from dcnrun.export.decompositions import DECOMPOSITIONS

DEFORM_CONV = DECOMPOSITIONS[torch.ops.dcnrun.deform_conv2d.default]
DEFORM_SAMPLE = DECOMPOSITIONS[torch.ops.dcnrun.deform_sample2d.default]

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
