"""`deform_sample2d`: the one entry to deformable sampling, the operator of DCNv3 and DCNv4, whatever computes it."""

from torch import Tensor

from dcnrun.ops.common.checks import pair
from dcnrun.ops.common.operator import traceable
from dcnrun.ops.deform_sample2d.operator import sample


@traceable
def deform_sample2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    offset_scale: float = 1.0,
    softmax: bool = False,
    remove_center: bool = False,
) -> Tensor:
    """Compute deformable sampling: in each group of channels, the sum of a pixel's samples, each times its factor.

    y(p, g) = sum_k m_k(p, g) * x(p * stride - padding + c + s * (k * dilation - c + offset_k(p, g)), g), x sampled bilinearly
    and zero outside the feature map, s being `offset_scale` and c the kernel's centre, dilation * (size - 1) // 2. There are no
    weights: it is a modulated deformable convolution with as many groups as channels, and weights of one.

    Args:
        input: (N, C, H, W), contiguous or channels-last; channels-last is the faster.
        offset: (N, 2*G*P, Ho, Wo), in pixels / `offset_scale`, y and x interleaved per sampling point, for G groups of channels
            and the P points of a kernel, row by row.
        mask: (N, G*P, Ho, Wo) factors of the samples, which may be negative (DCNv4), or None: all are 1.
        kernel_size: of the undeformed grid, one number or (y, x).
        stride: of the output grid, one number or (y, x).
        padding: zeros around the input, one number or (y, x).
        dilation: distance between sampling points before offsets, one number or (y, x).
        offset_scale: multiplies the offsets, and the distances of the sampling points from the centre.
        softmax: whether `mask` holds logits, of which a softmax over the points of a group makes the factors (DCNv3).
        remove_center: whether the point in the middle is left out; then P is kh*kw - 1, and both sides of the kernel are odd.

    Returns:
        (N, C, Ho, Wo), in the input's memory format. Samples outside the feature map are zero, those at NaN
        positions are NaN.

    Raises:
        ValueError, TypeError: the operands don't fit together; the message names the argument and both values.
        UsageError: the environment variable DCNRUN_BACKEND names no backend.

    At integer positions and at the border, offsets have the gradients that `deform_conv2d` gives them. The published
    layers have x before y, and the kernel's columns as the outer loop.

    Half-precision inputs may come with fp32 offsets and masks, and are summed in fp32; under autocast, offsets and masks
    are fp32. Source: Wang et al. 2023 (DCNv3, in InternImage), Xiong et al. 2024 (DCNv4).
    """
    sizes = pair(kernel_size, "kernel_size", 1), pair(stride, "stride", 1)
    settings = *sizes, pair(padding, "padding", 0), pair(dilation, "dilation", 1)
    return sample(input, offset, mask, *settings, offset_scale, softmax, remove_center)
