"""The family of convolutions that dcnrun compares: one signature, one name for every weight.

A plain or dilated layer is `nn.Conv2d`; the deformable ones add an offset branch to it, so weights of one kind load
into another and a backbone's published weights stay valid.
"""

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from dcnrun.config.schema import ConvKind
from dcnrun.models.modulation import checked_mask_start, modulation_mask
from dcnrun.ops import deform_conv2d
from dcnrun.ops.common.precision import without_autocast


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
        """(N, C, H, W) to (N, channels per tap * G * taps, Ho, Wo)."""
        with without_autocast(input.device.type):
            return super().forward(input.to(self.weight.dtype))


class DeformConv2d(nn.Conv2d):
    """Deformable convolution v1 with its own offset branch: `DeformConv2d(64, 64, 3, padding=1)`.

    Takes the arguments of `nn.Conv2d` and `offset_groups`: groups of input channels that share offsets.
    """

    channels_per_tap = 2  # y and x

    def __init__(self, *args: Any, offset_groups: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            raise ValueError(
                f"padding must be numbers of zeros, but is {self.padding!r} with mode {self.padding_mode!r}"
            )
        if offset_groups < 1 or self.in_channels % offset_groups:
            raise ValueError(f"offset_groups={offset_groups} does not divide in_channels={self.in_channels}")
        self.offset_groups = offset_groups
        self.offset_branch = OffsetBranch(
            self.in_channels,
            self.channels_per_tap * offset_groups * prod(self.kernel_size),
            self.kernel_size,  # type: ignore[arg-type]
            stride=self.stride,  # type: ignore[arg-type]
            padding=self.padding,  # type: ignore[arg-type]
            dilation=self.dilation,  # type: ignore[arg-type]
        )

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, Co, Ho, Wo)."""
        offset, mask = self.offsets(input)
        return deform_conv2d(
            input,
            offset,
            self.weight,
            self.bias,
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.dilation,  # type: ignore[arg-type]
            mask,
        )

    def offsets(self, input: Tensor) -> tuple[Tensor, Tensor | None]:
        """Offsets (N, 2*G*taps, Ho, Wo) in pixels of this layer's input, and the modulation mask or None."""
        return self.split_branch(self.offset_branch(input))

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take the offset branch's output apart into offsets and mask."""
        return output, None

    def extra_repr(self) -> str:
        """The settings of `nn.Conv2d` and the offset groups."""
        return f"{super().extra_repr()}, offset_groups={self.offset_groups}"  # type: ignore[no-untyped-call]


class ModulatedDeformConv2d(DeformConv2d):
    """Modulated deformable convolution (DCNv2): each sample is also weighed by a learnt mask.

    `mask_start` is the mask before training: 0.5 (sigmoid, as in the paper) or 1 (2 x sigmoid, as in the authors'
    code: the fresh layer then equals the plain convolution).
    """

    channels_per_tap = 3  # y, x and the mask

    def __init__(self, *args: Any, mask_start: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mask_start = checked_mask_start(mask_start)

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Offsets come first, then one mask logit per group and tap."""
        taps = prod(self.kernel_size)
        offset, logits = torch.split(output, [2 * self.offset_groups * taps, self.offset_groups * taps], dim=1)
        return offset, modulation_mask(logits, self.mask_start)

    def extra_repr(self) -> str:
        """The settings of `DeformConv2d` and the mask's start."""
        return f"{super().extra_repr()}, mask_start={self.mask_start}"


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
    offset_groups: int = 1,
    mask_start: float = 1.0,
) -> nn.Conv2d:
    """A convolution of the given kind; what the kind does not have is ignored."""
    shape = (in_channels, out_channels, kernel_size)
    common: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": bias,
    }
    match kind:
        case ConvKind.standard | ConvKind.dilated:
            return nn.Conv2d(*shape, **common)
        case ConvKind.deformable:
            return DeformConv2d(*shape, **common, offset_groups=offset_groups)
        case ConvKind.modulated:
            return ModulatedDeformConv2d(*shape, **common, offset_groups=offset_groups, mask_start=mask_start)
