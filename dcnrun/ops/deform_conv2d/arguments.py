"""The operands and settings of a deformable convolution as one thing, for what passes them on."""

from collections.abc import Hashable
from typing import NamedTuple

from torch import Tensor

from dcnrun.ops.deform_conv2d.checks import output_size


class Operands(NamedTuple):
    """The arguments in the operator's order; shapes as in `dcnrun.ops.deform_conv2d`, settings as (y, x)."""

    input: Tensor
    offset: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    mask: Tensor | None

    @property
    def settings(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Stride, padding and dilation."""
        return self.stride, self.padding, self.dilation

    @property
    def form(self) -> tuple[Hashable, ...]:
        """Everything but the values in the tensors: what follows from it can be remembered."""
        tensors = self.input, self.offset, self.weight, self.bias, self.mask
        return *map(_form, tensors), *map(tuple, self.settings)

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


def _form(tensor: Tensor | None) -> tuple[Hashable, ...] | None:
    return None if tensor is None else (tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
