"""The family of convolutions that dcnrun compares: one signature, one name for every weight.

The deformable ones are plain convolutions with an offset branch, so weights of one kind load into another and a
backbone's published weights stay valid. The layers of DCNv3 and DCNv4 have no such weights: `dcnrun.models.deform_sampling`.
"""

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dcnrun.config.schema import CONV_TRAITS, ConvKind
from dcnrun.models.deform_sampling import DCNv3, DCNv4, DeformSampling2d
from dcnrun.models.sampling import SamplingConv, checked_mask_start, modulation_mask
from dcnrun.ops import deform_conv2d
from dcnrun.ops.common.checks import pair
from dcnrun.ops.common.operator import without_autocast

_Size = int | tuple[int, int]
_Pair = tuple[int, ...]  # as `nn.Conv2d` keeps it


class PlainConv2d(nn.Conv2d):
    """`nn.Conv2d` that can take the place of another: the standard and the dilated kind, and the base of the others."""

    def take_weights(self, old: nn.Conv2d) -> None:
        """Share weight and bias of the convolution whose place this one takes; a weight of another shape is drawn anew."""
        if self.weight.shape == old.weight.shape:
            self.weight = old.weight
        else:
            nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if old.bias is not None:
            self.bias = old.bias


class OffsetBranch(nn.Conv2d):
    """The convolution that predicts offsets (and mask logits) from the layer's input.

    Zero-initialised: training starts from the undeformed grid. It has the layer's own kernel size, stride, padding and
    dilation (Dai et al. 2017, section 2.1), and runs in fp32 under autocast, since positions need the precision.
    """

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, channels_per_point * G * kh * kw, Ho, Wo), or both without N."""
        return _predict_offsets(input, self.weight, self.bias, self.stride, self.padding, self.dilation)


# torch.fx takes these two for steps of a network: inside, they ask of their input what a traced one does not tell.


@torch.fx.wrap
def _predict_offsets(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair | str, dilation: _Pair
) -> Tensor:
    """Compute an offset branch; what is wrong with its input is so with its layer's."""
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a tensor, but is {type(input).__name__}")
    if input.dim() not in (3, 4):
        raise ValueError(f"input must be (N, C, H, W) or (C, H, W), but has shape {tuple(input.shape)}")
    if input.shape[-3] != weight.shape[1]:
        raise ValueError(f"input has {input.shape[-3]} channels, but the layer has in_channels={weight.shape[1]}")
    if input.device != weight.device:
        raise ValueError(f"input is on {input.device}, but the layer is on {weight.device}")
    with without_autocast(input.device.type):
        return functional.conv2d(input.to(weight.dtype), weight, bias, stride, padding, dilation)


@torch.fx.wrap
def _convolve(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: _Pair,
    zeros: tuple[int, int, int, int],
    dilation: _Pair,
    mask: Tensor | None,
) -> Tensor:
    """Compute `deform_conv2d` with zeros to the left and right, above and below, also of one image without a batch."""
    left, right, top, bottom = zeros
    if (left, top) != (right, bottom):
        input = functional.pad(input, (0, right - left, 0, bottom - top))
    settings: tuple[Any, Any, Any] = stride, (top, left), dilation
    if input.dim() == 4:
        return deform_conv2d(input, offset, weight, bias, *settings, mask)
    return deform_conv2d(input[None], offset[None], weight, bias, *settings, None if mask is None else mask[None])[0]


class DeformConv2d(PlainConv2d, SamplingConv):
    """Deformable convolution v1 (Dai et al. 2017) with its own offset branch: `DeformConv2d(64, 64, 3, padding=1)`.

    Takes a batch (N, C, H, W) or one image (C, H, W), as `nn.Conv2d` does.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernel, or one number for both; so for the next three.
        stride: pixels of the input from one output pixel to the next.
        padding: zeros on each side of the input; or "valid", none, or "same", so many that the output is as large as the
            input (with an even kernel one more at the lower and right sides, as in `nn.Conv2d`; stride 1 only).
        dilation: pixels from one point of the undeformed grid to the next.
        groups: groups of channels that the weights connect.
        bias: whether the layer has a bias.
        padding_mode: "zeros", the only one.
        device: of the parameters.
        dtype: of the parameters.
        offset_groups: groups of input channels that share offsets; it divides `in_channels`.
    """

    channels_per_point = 2
    """Of the offset branch, for one sampling point: y and x."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size = 1,
        padding: _Size | str = 0,
        dilation: _Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        offset_groups: int = 1,
    ) -> None:
        kernel_size, stride = pair(kernel_size, "kernel_size", 1), pair(stride, "stride", 1)
        dilation = pair(dilation, "dilation", 1)
        padding = padding if isinstance(padding, str) else pair(padding, "padding", 0)
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros', but is {padding_mode!r}")
        if offset_groups < 1 or in_channels % offset_groups:
            raise ValueError(f"offset_groups={offset_groups} does not divide in_channels={in_channels}")
        geometry = (kernel_size, stride, padding, dilation)
        super().__init__(in_channels, out_channels, *geometry, groups, bias, device=device, dtype=dtype)
        self.offset_groups = offset_groups
        branch_channels = self.channels_per_point * offset_groups * prod(self.kernel_size)
        self.offset_branch = OffsetBranch(in_channels, branch_channels, *geometry, device=device, dtype=dtype)

    @property
    def zeros_before(self) -> tuple[int, int]:
        """Lines of zeros above and to the left of the input."""
        left, _, top, _ = self._zeros()
        return top, left

    def _zeros(self) -> tuple[int, int, int, int]:
        """Zeros to the left and right of the input, above and below it."""
        if not isinstance(self.padding, str):
            high, wide = self.padding
            return wide, wide, high, high
        left, right, top, bottom = self._reversed_padding_repeated_twice  # what `nn.Conv2d` makes of the words
        return left, right, top, bottom

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, Co, Ho, Wo), or both without N."""
        offset, mask = self.offsets(input)
        return _convolve(input, offset, self.weight, self.bias, self.stride, self._zeros(), self.dilation, mask)

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return all of it as offsets, and no mask."""
        return output, None

    def extra_repr(self) -> str:
        """The settings of `nn.Conv2d` and the offset groups."""
        return f"{super().extra_repr()}, offset_groups={self.offset_groups}"  # type: ignore[no-untyped-call]


class ModulatedDeformConv2d(DeformConv2d):
    """Modulated deformable convolution (DCNv2, Zhu et al. 2018): each sample is also weighed by a learnt mask.

    Takes the arguments of `DeformConv2d`, `offset_groups` included, and `mask_start`: the mask before training, 0.5 (sigmoid, as
    in the paper) or 1 (2 x sigmoid, as in the authors' code: the fresh layer then equals the plain convolution).
    """

    channels_per_point = 3
    """y, x and the mask."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size = 1,
        padding: _Size | str = 0,
        dilation: _Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        offset_groups: int = 1,
        mask_start: float = 1.0,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            offset_groups=offset_groups,
        )
        self.mask_start = checked_mask_start(mask_start)

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split into offsets, which come first, and masks from one logit per group and sampling point."""
        points = self.offset_groups * prod(self.kernel_size)
        offset, logits = torch.split(output, [2 * points, points], dim=-3)
        return offset, modulation_mask(logits, self.mask_start)

    def extra_repr(self) -> str:
        """The settings of `DeformConv2d` and the mask's start."""
        return f"{super().extra_repr()}, mask_start={self.mask_start}"


CONV_LAYERS: dict[ConvKind, type[PlainConv2d] | type[DeformSampling2d]] = {
    ConvKind.standard: PlainConv2d,
    ConvKind.dilated: PlainConv2d,
    ConvKind.deformable: DeformConv2d,
    ConvKind.modulated: ModulatedDeformConv2d,
    ConvKind.dcnv3: DCNv3,
    ConvKind.dcnv4: DCNv4,
}


def make_conv(
    kind: ConvKind,
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    bias: bool = True,
    **settings: Any,
) -> PlainConv2d | DeformSampling2d:
    """Build a convolution of the given kind, or what stands in its place.

    Args:
        kind: of the layer.
        in_channels: as for `nn.Conv2d`; so are all up to `bias`.
        out_channels: channels of the output.
        kernel_size: height and width.
        stride: along y and x.
        padding: zeros above and below, left and right.
        dilation: along y and x.
        groups: of the weights, or of the channels that sample at points of their own.
        bias: whether there is one.
        **settings: settings of `conv` that some kinds have, such as `offset_groups` and `mask_start`; those that this kind
            does not have are ignored.
    """
    own = {name: settings[name] for name in own_settings(kind) if name in settings}
    return CONV_LAYERS[kind](in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, **own)


def own_settings(kind: ConvKind) -> list[str]:
    """Return the settings of `conv` that the kind has and plain convolutions don't: arguments of its layer."""
    return [key.removeprefix("conv.") for key in CONV_TRAITS[kind].settings if key.startswith("conv.")]
