"""`deform_conv2d`: the one entry to deformable convolution, whatever computes it."""

import os

import torch
import torchvision.ops
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from dcnrun.errors import UsageError
from dcnrun.ops.checks import check_deform_conv2d, pair
from dcnrun.ops.precision import autocast_is_on, without_autocast
from dcnrun.ops.reference import deform_conv2d_reference
from dcnrun.ops.rows import deform_conv2d_rows

BACKENDS = ("auto", "rows", "torchvision", "reference")


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
    """Deformable convolution, v1 without `mask` and v2 with it.

    Args:
        input: (N, C, H, W).
        offset: (N, 2*G*kh*kw, Ho, Wo), in pixels, y and x interleaved per tap, for G offset groups.
        weight: (Co, C/groups, kh, kw).
        bias: (Co,) or None.
        stride: of the output grid, one number or (y, x).
        padding: zeros around the input, one number or (y, x).
        dilation: distance between taps before offsets, one number or (y, x).
        mask: (N, G*kh*kw, Ho, Wo) factors of the samples, or None.

    Returns:
        (N, Co, Ho, Wo). Samples outside the map are zero.

    Raises:
        ValueError, TypeError: the operands don't fit together; the message names the argument and both values.
        UsageError: the environment variable DCNRUN_BACKEND names no backend.

    Half-precision inputs may come with fp32 offsets and masks; under autocast it computes in fp32. Source: Dai et al. 2017 (v1), Zhu et al. 2018 (v2).
    """
    if autocast_is_on(input.device.type):
        with without_autocast(input.device.type):
            tensors = (_widened(t) for t in (input, offset, weight, bias, mask))
            input, offset, weight, bias, mask = tensors  # type: ignore[assignment]
            return deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)
    stride, padding, dilation = pair(stride, "stride", 1), pair(padding, "padding", 0), pair(dilation, "dilation", 1)
    check_deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)
    match backend_for(input, offset):
        case "rows":
            return deform_conv2d_rows(input, offset, weight, bias, stride, padding, dilation, mask)
        case "torchvision":
            output: Tensor = torchvision.ops.deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask)
            return output
        case _:
            return deform_conv2d_reference(input, offset, weight, bias, stride, padding, dilation, mask)


def backend_for(input: Tensor, offset: Tensor) -> str:
    """Which implementation computes these operands: "rows", "torchvision" or "reference".

    On the CPU `rows` is several times faster than torchvision. Set DCNRUN_BACKEND to force one.
    """
    asked = os.environ.get("DCNRUN_BACKEND", "auto")
    if asked not in BACKENDS:
        raise UsageError(f"DCNRUN_BACKEND is {asked!r}: it must be one of {', '.join(BACKENDS)}")
    if asked != "auto":
        return asked
    empty = input.numel() == 0 or offset.numel() == 0
    # in fp16 torchvision rounds positions, and it has no bf16: those are computed by the definition
    if empty or input.dtype not in (torch.float32, torch.float64):
        return "reference"
    # on "meta", where only shapes and FLOPs are wanted, torchvision's is one operator with a known cost
    return {"cpu": "rows", "cuda": "torchvision", "meta": "torchvision"}.get(input.device.type, "reference")


def _widened(tensor: Tensor | None) -> Tensor | None:
    return tensor.float() if tensor is not None and tensor.dtype.itemsize == 2 else tensor


@register_flop_formula(torch.ops.torchvision.deform_conv2d)
def _forward_flops(
    input_shape: list[int],
    weight_shape: list[int],
    offset_shape: list[int],
    *more: object,
    out_shape: tuple[int, ...],
    **options: object,
) -> int:
    """Multiply-adds of the convolution, and of the bilinear samples: 4 products and 3 sums each."""
    n, channels, _, _ = input_shape
    out_channels, channels_per_group, kernel_h, kernel_w = weight_shape
    pixels = out_shape[2] * out_shape[3]
    taps = kernel_h * kernel_w
    return n * pixels * taps * (2 * out_channels * channels_per_group + 7 * channels)
