"""What a capture holds: each convolution and each pooling of regions, with where it sampled for one image."""

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
    """Above and left of the map."""
    dilation: tuple[int, int]
    groups: int
    """Of the weights."""
    offset_groups: int
    """1 for a plain convolution."""
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    offset: Tensor
    """(offset_groups, taps, 2, Ho, Wo) in pixels of the input map, float32 on the CPU: [:, :, 0] is y, [:, :, 1] x. Zeros for
    a plain convolution."""
    mask: Tensor | None
    """(offset_groups, taps, Ho, Wo), or None where all are 1."""
    tap_weight: Tensor
    """(offset_groups, taps): the Euclidean norm of the weights with which a tap reads the channels of a group."""
    deformable: bool
    """False for a plain convolution."""
    input_grid: Grid
    """Of the input map in the image."""
    output_grid: Grid
    source: str | None
    """The captured layer that made the input map, with nothing between them that mixes pixels: where paths join, as after a
    residual block, that on the path of most convolutions, not the shortcut. None where there is no such layer."""

    @property
    def taps(self) -> int:
        """Of one filter."""
        return self.kernel_size[0] * self.kernel_size[1]


@dataclass(frozen=True)
class RoIs:
    """The regions that one call of a RoI pooling pooled, and its bins; positions are in image pixels.

    A place on a pooled map is brought into the image by the map's grid, so bins are where the features that were read lie.
    """

    name: str
    boxes: Tensor
    """(R, 4) x1, y1, x2, y2 of the regions without offsets, in image pixels with pixel centres at whole numbers."""
    bins: Tensor
    """(R, ph, pw, 2): the bins' centres (y, x), as their offsets move them."""
    plain_bins: Tensor
    """(R, ph, pw, 2): without offsets."""
    bin_size: Tensor
    """(R, 2): height and width of a region's bins, which offsets do not change."""
    mask: Tensor | None
    """(R, ph, pw), or None where all are 1."""


@dataclass(frozen=True)
class Capture:
    """Where a network sampled for one image."""

    image_size: tuple[int, int]
    layers: tuple[Layer, ...]
    """In the order in which they ran: those asked for, and plain convolutions on the way from one to the next."""
    rois: tuple[RoIs, ...]

    def layer(self, name: str) -> Layer:
        """The layer of a name; UsageError lists those that there are."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UsageError(f"No layer {name!r} was captured, only {', '.join(layer.name for layer in self.layers)}.")
