"""The operands and settings of a deformable convolution as one thing, for what passes them on."""

from typing import NamedTuple

from torch import Tensor

from dcnrun.ops.common.forms import Formed

Pair = tuple[int, int]


class _Arguments(NamedTuple):
    """The arguments in the operator's order; shapes as in `dcnrun.ops.deform_conv2d`, settings as (y, x)."""

    input: Tensor
    offset: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair
    mask: Tensor | None


class Operands(_Arguments, Formed):
    """The arguments, and what follows from them."""

    @property
    def settings(self) -> tuple[Pair, Pair, Pair]:
        """Stride, padding and dilation."""
        return self.stride, self.padding, self.dilation

    @property
    def groups(self) -> int:
        """Groups of channels of the weight."""
        return self.input.shape[1] // self.weight.shape[1]

    @property
    def offset_groups(self) -> int:
        """Groups of input channels that share offsets."""
        _, _, kernel_height, kernel_width = self.weight.shape
        return self.offset.shape[1] // (2 * kernel_height * kernel_width)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(N, Co, Ho, Wo)."""
        n, _, height, width = self.input.shape
        out_channels, _, kernel_height, kernel_width = self.weight.shape
        return n, out_channels, *output_size((height, width), (kernel_height, kernel_width), *self.settings)


def output_size(size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """Return height and width of a convolution's output."""
    out_h, out_w = (
        (size[i] + 2 * padding[i] - dilation[i] * (kernel_size[i] - 1) - 1) // stride[i] + 1 for i in range(2)
    )
    return out_h, out_w
