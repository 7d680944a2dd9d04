"""The operands and settings of a deformable sampling as one thing, for what passes them on."""

from typing import NamedTuple

from torch import Tensor

from dcnrun.ops.common.forms import Formed
from dcnrun.ops.deform_conv2d.arguments import Pair, output_size


class _Arguments(NamedTuple):
    """The arguments in the operator's order; shapes as in `dcnrun.ops.deform_sample2d`, settings as (y, x)."""

    input: Tensor
    offset: Tensor
    mask: Tensor | None
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    offset_scale: float
    softmax: bool
    remove_center: bool


class Operands(_Arguments, Formed):
    """The arguments, and what follows from them."""

    @property
    def settings(self) -> tuple[Pair, Pair, Pair, Pair, float, bool, bool]:
        """All arguments that are not tensors."""
        return self[3:]

    @property
    def grid(self) -> tuple[Pair, Pair, Pair, Pair, float, bool]:
        """What decides where the sampling points lie, the offsets apart."""
        return *self[3:8], self.remove_center

    @property
    def points(self) -> int:
        """Sampling points of one output pixel and group."""
        return self.kernel_size[0] * self.kernel_size[1] - self.remove_center

    @property
    def groups(self) -> int:
        """Groups of channels that share offsets and factors."""
        return self.offset.shape[1] // (2 * self.points)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(N, C, Ho, Wo)."""
        n, channels, height, width = self.input.shape
        size = output_size((height, width), self.kernel_size, self.stride, self.padding, self.dilation)
        return n, channels, *size
