"""`deform_conv2d`: the one entry to deformable convolution, whatever computes it."""

from torch import Tensor

from dcnrun.ops.common.checks import pair
from dcnrun.ops.common.operator import traceable
from dcnrun.ops.deform_conv2d.operator import convolve


@traceable
def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """Compute a deformable convolution, v1 without `mask` and v2 with it.

    Args:
        input: (N, C, H, W), contiguous or channels-last; channels-last is the faster.
        offset: (N, 2*G*kh*kw, Ho, Wo), in pixels, y and x interleaved per sampling point, for G offset groups.
        weight: (Co, C/groups, kh, kw).
        bias: (Co,) or None.
        stride: of the output grid, one number or (y, x).
        padding: zeros around the input, one number or (y, x).
        dilation: distance between sampling points before offsets, one number or (y, x).
        mask: (N, G*kh*kw, Ho, Wo) factors of the samples, or None.

    Returns:
        (N, Co, Ho, Wo), in the input's memory format. Samples outside the feature map are zero, those at NaN
        positions are NaN.

    Raises:
        ValueError, TypeError: the operands don't fit together; the message names the argument and both values.
        UsageError: the environment variable DCNRUN_BACKEND names no backend.

    At an integer position, where a bilinear sample has two slopes, an offset's gradient is that of the pixels below and to
    the right; from one pixel outside the feature map on (-1 and less, the height or width and more) it is 0. So has every
    backend, as mmcv, DCNv2's code and Paddle have; torchvision's own function has a slope at -1.

    Half-precision inputs may come with fp32 offsets and masks, and are summed in fp32; under autocast, offsets and masks
    are fp32. Source: Dai et al. 2017 (v1), Zhu et al. 2018 (v2).
    """
    settings = pair(stride, "stride", 1), pair(padding, "padding", 0), pair(dilation, "dilation", 1)
    return convolve(input, offset, weight, bias, *settings, mask)
