"""The contents of a capture: each convolution and each RoI pooling, with where it sampled for one image."""

from dataclasses import dataclass

from torch import Tensor

from dcnrun.errors import UsageError
from dcnrun.offsets.grid import Grid


@dataclass(frozen=True)
class Layer:
    """One convolution, with where it sampled for one image; all pairs are (y, x)."""

    name: str
    """As `named_modules` has it; the second call of a module that is called more often is `name:2`."""
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    """Above and to the left of the feature map."""
    dilation: tuple[int, int]
    groups: int
    """The weight's groups, as in `nn.Conv2d`."""
    offset_groups: int
    """1 for a plain convolution."""
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    offset: Tensor
    """(offset_groups, K, 2, Ho, Wo) in pixels of the input feature map, float32 on the CPU: [:, :, 0] is y, [:, :, 1] x. Zeros for
    a plain convolution."""
    mask: Tensor | None
    """(offset_groups, K, Ho, Wo), or None where all are 1."""
    point_weight: Tensor
    """(offset_groups, K): the Euclidean norm of the weights with which a sampling point reads the channels of a group."""
    deformable: bool
    """False for a plain convolution."""
    input_grid: Grid
    """The input feature map in the image."""
    output_grid: Grid
    """The output feature map in the image."""
    source: str | None
    """The captured layer that computed the input feature map, with no operation in between that mixes pixels. Where paths
    join, as after a residual block, it is the one on the path with most convolutions, not on the shortcut. None if there is
    no such layer."""

    @property
    def num_points(self) -> int:
        """K, the sampling points of one output pixel in one offset group: as many as the kernel has positions."""
        return self.kernel_size[0] * self.kernel_size[1]


@dataclass(frozen=True)
class RoIs:
    """The regions of one call of a RoI pooling, and their bins; positions are in image pixels.

    The grid of the pooled feature map converts positions to the image, so bins are where the features that were read lie.
    """

    name: str
    boxes: Tensor
    """(R, 4) x1, y1, x2, y2 of the regions without offsets, in image pixels with pixel centres at integers."""
    bins: Tensor
    """(R, ph, pw, 2): the bins' centres (y, x), moved by their offsets."""
    plain_bins: Tensor
    """(R, ph, pw, 2): the bins' centres without offsets."""
    bin_size: Tensor
    """(R, 2): height and width of a region's bins, which offsets do not change."""
    mask: Tensor | None
    """(R, ph, pw), or None where all are 1."""


@dataclass(frozen=True)
class Capture:
    """All layers and RoI poolings of a network, with where they sampled for one image."""

    image_size: tuple[int, int]
    layers: tuple[Layer, ...]
    """In the order in which they ran: the requested ones, and plain convolutions on the way from one to the next."""
    rois: tuple[RoIs, ...]

    def layer(self, name: str) -> Layer:
        """Return the layer of that name; UsageError lists the names there are."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UsageError(f"No layer {name!r} was captured, only {', '.join(layer.name for layer in self.layers)}.")
