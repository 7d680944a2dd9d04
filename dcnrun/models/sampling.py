"""The interface of layers that sample feature maps at learnt points: deformable convolution and deformable RoI pooling.

Whoever watches, trains, draws, exports or loads such layers asks this interface and not a class of layers.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dcnrun.ops.deform_conv2d.reference import sampling_points

RUNAWAY_SHARE = 0.5
"""Share of a layer's sampling points that offsets may take out of the feature map before users are warned."""


class Sampling(NamedTuple):
    """Where a layer sampled in one call; positions are in pixels of the feature map, pixel centres at integers."""

    offset: Tensor
    """In pixels, y and x; (N, 2*G*kh*kw, Ho, Wo) of a convolution, (R, 2, ph, pw) of RoI pooling."""
    mask: Tensor | None
    y: Tensor
    """The sampling points, offsets included: (N*G, kh*kw, Ho, Wo), or (R, ph, pw) centres of bins."""
    x: Tensor
    plain_y: Tensor
    """The same points without offsets; a shape that broadcasts to that of `y`."""
    plain_x: Tensor
    size: tuple[int | Tensor, int | Tensor]
    """Height and width of the feature map, or tensors that hold those of each region's own."""


class SamplingLayer(ABC):
    """A module with a branch that learns where to sample; inherited beside `nn.Module`."""

    branch_name: ClassVar[str]
    """Name of the branch's kind: of the optimizer's parameter group, of its setting `optim.<name>_lr_mult`, and of the logged
    means `train/<name>_abs` and `train/<name>_outside`."""
    mask_is_bounded: ClassVar[bool] = True
    """Whether the mask stays within a range whatever the branch predicts; else it is the last third of what that predicts."""
    offset_branch: nn.Module
    """What predicts offsets, and mask logits where there are masks; called once in each forward pass."""

    @abstractmethod
    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split the offset branch's output into offsets and the modulation mask (None where all is 1)."""

    @abstractmethod
    def sampling(self, *args: Any, **kwargs: Any) -> Sampling:
        """Return where the layer samples for the arguments of a forward pass.

        `branch`, by name, is the offset branch's output for them; without, the branch is run.
        """


class SamplingConv(SamplingLayer):
    """A convolution that samples at learnt points."""

    branch_name = "offset"
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    offset_groups: int
    """Groups of input channels that share offsets."""

    @property
    @abstractmethod
    def zeros_before(self) -> tuple[int, int]:
        """Lines of zeros above and to the left of the input."""

    @abstractmethod
    def take_weights(self, old: nn.Conv2d) -> None:
        """Start from the weights of the plain convolution whose place the layer takes."""

    def offsets(self, input: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return offsets (N, 2*G*kh*kw, Ho, Wo) in pixels of this layer's input, and the modulation mask or None.

        Both are without N where the input is.
        """
        return self.split_branch(self.offset_branch(input))

    def sampling(self, input: Tensor, branch: Tensor | None = None) -> Sampling:
        """Return where the layer samples the input, (N, C, H, W) or as a batch of one (C, H, W)."""
        offset, mask = self.offsets(input) if branch is None else self.split_branch(branch)
        if offset.dim() == 3:
            offset, mask = offset[None], None if mask is None else mask[None]
        geometry: Any = (self.kernel_size, self.stride, self.zeros_before, self.dilation)
        y, x = sampling_points(offset, *geometry)
        still = torch.zeros(1, 2 * y.shape[1], *y.shape[2:], device=y.device)
        return Sampling(offset, mask, y, x, *sampling_points(still, *geometry), (input.shape[-2], input.shape[-1]))


class SamplingRoIPool(SamplingLayer):
    """A pooling of regions at learnt points: each bin of a region is moved by an offset."""

    branch_name = "roi_offset"


def sampling_layers(network: nn.Module) -> dict[str, SamplingLayer]:
    """Return the layers of a network that sample at learnt points, by name, in the order of `named_modules`."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, SamplingLayer)}


def outside(y: Tensor, x: Tensor, size: tuple[int | Tensor, int | Tensor]) -> Tensor:
    """Return which sampling points lie outside a feature map of `size` (height, width): no pixel of it is under them.

    A bilinear sample there reads zeros and gives no gradient. A position that is NaN or infinite is outside.
    """
    return ~((y > -1) & (y < size[0]) & (x > -1) & (x < size[1]))


def checked_mask_start(mask_start: float) -> float:
    """Return the mask before training if it is 0.5 (sigmoid, as in the paper) or 1 (2 x sigmoid, as in the authors' code).

    The modulation of DCNv2 (Zhu et al. 2018) weighs what is sampled by a learnt mask. ValueError for another start.
    """
    if mask_start not in (0.5, 1.0):
        raise ValueError(f"mask_start must be 0.5 or 1, but is {mask_start}")
    return mask_start


def modulation_mask(logits: Tensor, mask_start: float) -> Tensor:
    """Return factors from 0 to twice `mask_start`, which is what zero logits give."""
    return 2 * mask_start * logits.sigmoid()
