"""The layers of DCNv3 (Wang et al. 2023, InternImage) and DCNv4 (Xiong et al. 2024), in the place of a convolution.

A pointwise projection, deformable sampling in groups of channels (`dcnrun.ops.deform_sample2d`), another projection: what weighs
the sampling points is predicted from the input, and there are no weights of a kernel.
"""

from abc import abstractmethod
from collections.abc import Mapping
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dcnrun.config.schema import Match
from dcnrun.models.sampling import SamplingConv
from dcnrun.ops import deform_sample2d
from dcnrun.ops.common.checks import pair
from dcnrun.ops.common.operator import without_autocast

_Size = int | tuple[int, int]
_Pair = tuple[int, int]

_NORM_EPS = 1e-6  # as in the authors' code


# torch.fx takes these for steps of a network: inside, they ask of their input what a traced one does not tell.


@torch.fx.wrap
def _predict(input: Tensor, weight: Tensor, bias: Tensor, stride: _Pair, margins: tuple[int, int, int, int]) -> Tensor:
    """Compute a pointwise offset branch at the centres of the windows, `margins` beside the input's pixels."""
    with without_autocast(input.device.type):
        input = input.to(weight.dtype)
        if any(margins):
            input = functional.pad(input, margins)
        return functional.conv2d(input, weight, bias, stride)


@torch.fx.wrap
def _predict_depthwise(
    input: Tensor,
    depthwise: tuple[Tensor, Tensor],
    norm: tuple[Tensor, Tensor],
    linear: tuple[Tensor, Tensor],
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
) -> Tensor:
    """Compute a depth-wise offset branch: convolution, layer norm over channels, GELU, and a linear layer."""
    channels = input.shape[-3]
    with without_autocast(input.device.type):
        input = input.to(linear[0].dtype)
        features = functional.conv2d(input, *depthwise, stride, padding, dilation, channels).movedim(-3, -1)
        features = functional.gelu(functional.layer_norm(features, (channels,), *norm, _NORM_EPS))
        return functional.conv2d(features.movedim(-1, -3), *linear)


@torch.fx.wrap
def _sample(
    value: Tensor,
    offset: Tensor,
    mask: Tensor,
    geometry: tuple[_Pair, _Pair, _Pair, _Pair],
    offset_scale: float,
    softmax: bool,
    remove_center: bool,
) -> Tensor:
    """Compute `deform_sample2d`, also of one image without a batch."""
    settings = (*geometry, offset_scale, softmax, remove_center)
    if value.dim() == 4:
        return deform_sample2d(value, offset, mask, *settings)
    return deform_sample2d(value[None], offset[None], mask[None], *settings)[0]


class PointwiseOffsetBranch(nn.Conv2d):
    """The offset branch of DCNv4: a linear layer of the input's pixel in the centre of each window, in fp32 under autocast.

    It starts with offsets of zero and factors of 1 / `points`, whatever the input.
    """

    def __init__(self, layer: "DeformSampling2d", device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        self._points = layer.offset_groups * layer.num_points
        self._start = 1 / layer.num_points
        super().__init__(layer.in_channels, 3 * self._points, 1, layer.stride, device=device, dtype=dtype)
        before = [layer.padding[axis] - layer.center[axis] for axis in (0, 1)]
        sides = [layer.dilation[axis] * (layer.kernel_size[axis] - 1) for axis in (0, 1)]
        after = [2 * layer.padding[axis] - sides[axis] - before[axis] for axis in (0, 1)]
        self.margins = before[1], after[1], before[0], after[0]

    def reset_parameters(self) -> None:
        """Set weights and the offsets' biases to zero, and the factors' biases so that a layer takes the mean of a window."""
        nn.init.zeros_(self.weight)
        assert self.bias is not None
        with torch.no_grad():
            self.bias[: 2 * self._points] = 0
            self.bias[2 * self._points :] = self._start

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 3 * G * points, Ho, Wo), or both without N."""
        assert self.bias is not None
        return _predict(input, self.weight, self.bias, (self.stride[0], self.stride[1]), self.margins)


class DepthwiseOffsetBranch(nn.Module):
    """The offset branch of DCNv3: depth-wise convolution, layer norm, GELU and a linear layer, in fp32 under autocast.

    The depth-wise convolution has the layer's own kernel size, stride, padding and dilation. The linear layer starts at zero.
    """

    def __init__(self, layer: "DeformSampling2d", device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        super().__init__()
        channels, points = layer.in_channels, layer.offset_groups * layer.num_points
        self._geometry = layer.stride, layer.padding, layer.dilation
        self.depthwise = nn.Conv2d(channels, channels, layer.kernel_size, groups=channels, device=device, dtype=dtype)
        self.norm = nn.LayerNorm(channels, _NORM_EPS, device=device, dtype=dtype)
        self.linear = nn.Conv2d(channels, 3 * points, 1, device=device, dtype=dtype)
        for parameter in self.linear.parameters():
            nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 3 * G * points, Ho, Wo), or both without N."""
        assert self.depthwise.bias is not None
        assert self.linear.bias is not None
        depthwise, linear = (self.depthwise.weight, self.depthwise.bias), (self.linear.weight, self.linear.bias)
        return _predict_depthwise(input, depthwise, (self.norm.weight, self.norm.bias), linear, *self._geometry)


class DeformSampling2d(nn.Module, SamplingConv):
    """What DCNv3 and DCNv4 have in common: projection, deformable sampling, projection; with the arguments of `nn.Conv2d`.

    It starts as the mean of each window between two projections, the first of which is the identity. So a layer that
    takes a convolution's place gives what that one gave on an even feature map (`take_weights`). Where more channels are sampled
    than the input has (`match`), the first projection starts orthogonal, so that this holds as well.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, which the second projection makes.
        kernel_size: height and width of the undeformed grid, or one number for both; so for the next three.
        stride: pixels of the input from one output pixel to the next.
        padding: zeros on each side of the input.
        dilation: pixels from one point of the undeformed grid to the next.
        groups: groups of channels with offsets and factors of their own; it divides `in_channels`. 16 channels each are usual.
        bias: whether the projections have biases.
        padding_mode: "zeros", the only one.
        device: of the parameters.
        dtype: of the parameters.
        offset_scale: multiplies the offsets, and the distances of the sampling points from the kernel's centre.
        remove_center: whether the point in the middle of the kernel is left out.
        match: how many channels are sampled: "layers", as many as the input has; "parameters" or "flops", so many that the layer
            has as many of these as a convolution of this kernel size without groups, to the nearest that `groups` divides.
    """

    softmax: ClassVar[bool]
    """Whether the factors of a group's points are a softmax of what the branch predicts."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size = 1,
        padding: _Size = 0,
        dilation: _Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        offset_scale: float = 1.0,
        remove_center: bool = False,
        match: str = Match.layers,
    ) -> None:
        super().__init__()
        self.kernel_size: _Pair = pair(kernel_size, "kernel_size", 1)
        self.stride: _Pair = pair(stride, "stride", 1)
        self.padding = pair(padding, "padding", 0)
        self.dilation: _Pair = pair(dilation, "dilation", 1)
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros', but is {padding_mode!r}")
        if groups < 1 or in_channels % groups:
            raise ValueError(f"groups={groups} does not divide in_channels={in_channels}")
        if remove_center and (prod(self.kernel_size) == 1 or not all(side % 2 for side in self.kernel_size)):
            raise ValueError(f"remove_center needs a kernel of odd sides, more than 1x1, but it is {self.kernel_size}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.padding_mode, self.offset_scale, self.remove_center = padding_mode, offset_scale, remove_center
        self.offset_groups = groups
        self.offset_branch = self.make_branch(device, dtype)
        self.sampled_channels = self._sampled_channels(Match(match))
        self.value_proj = nn.Conv2d(in_channels, self.sampled_channels, 1, bias=bias, device=device, dtype=dtype)
        self.output_proj = nn.Conv2d(self.sampled_channels, out_channels, 1, bias=bias, device=device, dtype=dtype)
        if self.sampled_channels == in_channels:
            nn.init.dirac_(self.value_proj.weight)
        else:
            nn.init.orthogonal_(self.value_proj.weight)
        for projection in (self.value_proj, self.output_proj):
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)

    @abstractmethod
    def make_branch(self, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
        """Make what predicts, for each group, offsets (y, x of all points first) and what makes the factors."""

    @property
    def num_points(self) -> int:
        """Sampling points of one output pixel and group."""
        return prod(self.kernel_size) - self.remove_center

    @property
    def center(self) -> _Pair:
        """Pixels from the first sampling point of a window to its centre, (y, x)."""
        high, wide = (self.dilation[axis] * (self.kernel_size[axis] - 1) // 2 for axis in (0, 1))
        return high, wide

    def _sampled_channels(self, match: Match) -> int:
        """Return how many channels are sampled for as many parameters, or FLOPs an output pixel, as the convolution has."""
        per_point = self.in_channels * self.out_channels
        branch = list(self.offset_branch.parameters())
        match match:
            case Match.layers:
                return self.in_channels
            case Match.parameters:
                left = prod(self.kernel_size) * per_point - sum(parameter.numel() for parameter in branch)
                of_channel = self.in_channels + self.out_channels
            case Match.flops:  # two for each weight of a convolution, and nine for each sample
                weights = sum(parameter.numel() for parameter in branch if parameter.dim() == 4)
                left = 2 * (prod(self.kernel_size) * per_point - weights)
                of_channel = 2 * self.in_channels * prod(self.stride) + 9 * self.num_points + 2 * self.out_channels
        return max(round(left / of_channel / self.groups), 1) * self.groups

    @property
    def zeros_before(self) -> _Pair:
        """Lines of zeros above and to the left of the input."""
        return self.padding

    def take_weights(self, old: nn.Conv2d) -> None:
        """Start with the weights of the convolution whose place this layer takes, added up over its kernel, and its bias.

        Of a convolution with groups there are no such sums: then the second projection stays as it was drawn.
        """
        if old.groups == 1:
            with torch.no_grad():
                total = old.weight.sum((2, 3)) @ self.value_proj.weight.flatten(1).T
                self.output_proj.weight.copy_(total[:, :, None, None])
        if old.bias is not None:
            self.output_proj.bias = old.bias

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, Co, Ho, Wo), or both without N."""
        offset, mask = self._split(self.offset_branch(input))
        geometry = self.kernel_size, self.stride, self.padding, self.dilation
        settings = self.offset_scale, self.softmax, self.remove_center
        return self.output_proj(_sample(self.value_proj(input), offset, mask, geometry, *settings))  # type: ignore[no-any-return]

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Split the branch's output as the operator takes it."""
        points = self.offset_groups * self.num_points
        offset, mask = torch.split(output, [2 * points, points], dim=-3)
        return offset, mask

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Split into offsets in pixels from the undeformed grid, and factors, of all points of the kernel.

        A centre that is left out is a point with the factor 0; `offset_scale` counts as a part of the offsets.
        """
        offset, mask = self._split(output)
        by_group = self.offset_groups, self.num_points
        batch, size = output.shape[:-3], output.shape[-2:]
        offset, mask = offset.reshape(*batch, *by_group, 2, *size), mask.reshape(*batch, *by_group, *size)
        if self.softmax:
            mask = mask.softmax(-3)
        if self.remove_center:
            middle = self.num_points // 2
            offset = torch.cat(
                [offset[..., :middle, :, :, :], 0 * offset[..., :1, :, :, :], offset[..., middle:, :, :, :]], -4
            )
            mask = torch.cat([mask[..., :middle, :, :], 0 * mask[..., :1, :, :], mask[..., middle:, :, :]], -3)
        if self.offset_scale != 1:
            point = torch.arange(prod(self.kernel_size), device=output.device)
            lines = torch.stack([point // self.kernel_size[1], point % self.kernel_size[1]], 1)
            steps = lines * point.new_tensor(self.dilation) - point.new_tensor(self.center)
            offset = self.offset_scale * offset + (self.offset_scale - 1) * steps[:, :, None, None]
        return offset.flatten(-5, -3), mask.flatten(-4, -3)

    def extra_repr(self) -> str:
        """The settings of `nn.Conv2d` and those of its own that are not the default."""
        said = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        said += f", padding={self.padding}, dilation={self.dilation}, groups={self.groups}"
        if self.sampled_channels != self.in_channels:
            said += f", sampled_channels={self.sampled_channels}"
        if self.offset_scale != 1:
            said += f", offset_scale={self.offset_scale}"
        return said + (", remove_center=True" if self.remove_center else "")


class DCNv3(DeformSampling2d):
    """The layer of DCNv3: factors are a softmax over a group's points; takes the arguments of `DeformSampling2d`."""

    softmax = True

    def make_branch(self, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
        """Make a depth-wise convolution, norm, GELU and a linear layer."""
        return DepthwiseOffsetBranch(self, device, dtype)


class DCNv4(DeformSampling2d):
    """The layer of DCNv4: factors are what a linear layer predicts, and may be negative; arguments as for `DeformSampling2d`.

    The published layer starts with factors of 0 and so gives 0; this one starts with the mean of each window, as DCNv3 does.
    """

    softmax = False
    mask_is_bounded = False

    def make_branch(self, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
        """Make a linear layer of each pixel."""
        return PointwiseOffsetBranch(self, device, dtype)


# Weights of the authors' layers -------------------------------------------------------------------------------------------


def from_dcnv4_state(state: Mapping[str, Tensor], layer: DCNv4) -> dict[str, Tensor]:
    """Convert the state dict of the authors' DCNv4 layer to one for `layer.load_state_dict`.

    There x comes before y, the kernel's columns are the outer loop, each group's factors follow its offsets, and the linear
    layer is as wide as the next multiple of 8. A layer `without_pointwise` gets projections that are the identity.

    Raises:
        ValueError: the state has what this layer has not, or not the width that it needs.
    """
    groups, points = layer.groups, layer.num_points
    _require(state, {"offset_mask.weight", "offset_mask.bias"}, ("value_proj.", "output_proj."))
    converted = _projections(state, layer, "value_proj")
    wanted = -(-3 * groups * points // 8) * 8
    order = _published_order(layer)
    for name in ("weight", "bias"):
        rows = state[f"offset_mask.{name}"]
        if rows.shape[0] != wanted:
            raise ValueError(
                f"offset_mask.{name} has {rows.shape[0]} rows, but {groups} groups of {points} points need {wanted}"
            )
        by_group = rows[: 3 * groups * points].reshape(groups, 3 * points, *rows.shape[1:])
        offsets = by_group[:, : 2 * points].reshape(groups, points, 2, *rows.shape[1:])[:, order].flip(2)
        joined = torch.cat([offsets.flatten(0, 2), by_group[:, 2 * points :][:, order].flatten(0, 1)])
        converted[f"offset_branch.{name}"] = joined[:, :, None, None] if name == "weight" else joined
    return converted


def from_dcnv3_state(state: Mapping[str, Tensor], layer: DCNv3) -> dict[str, Tensor]:
    """Convert the state dict of the authors' DCNv3 layer, with layer norm, to one for `layer.load_state_dict`.

    There x comes before y, and the kernel's columns are the outer loop.

    Raises:
        ValueError: the state has what this layer has not, or not the width that it needs.
    """
    groups, points = layer.groups, layer.num_points
    names = {"dw_conv.0": "depthwise", "dw_conv.1.1": "norm"}
    needed = {f"{part}.{name}" for part in (*names, "offset", "mask") for name in ("weight", "bias")}
    _require(state, needed, ("input_proj.", "output_proj."))
    converted = _projections(state, layer, "input_proj")
    order = _published_order(layer)
    for name in ("weight", "bias"):
        converted |= {f"offset_branch.{ours}.{name}": state[f"{theirs}.{name}"] for theirs, ours in names.items()}
        offset, mask = state[f"offset.{name}"], state[f"mask.{name}"]
        if (offset.shape[0], mask.shape[0]) != (2 * groups * points, groups * points):
            raise ValueError(
                f"offset.{name} and mask.{name} have {offset.shape[0]} and {mask.shape[0]} rows, but {groups} groups of "
                f"{points} points need {2 * groups * points} and {groups * points}"
            )
        offsets = offset.reshape(groups, points, 2, *offset.shape[1:])[:, order].flip(2)
        masks = mask.reshape(groups, points, *mask.shape[1:])[:, order]
        joined = torch.cat([offsets.flatten(0, 2), masks.flatten(0, 1)])
        converted[f"offset_branch.linear.{name}"] = joined[:, :, None, None] if name == "weight" else joined
    return converted


def _require(state: Mapping[str, Tensor], needed: set[str], optional: tuple[str, ...]) -> None:
    if missing := needed - state.keys():
        raise ValueError(f"the state dict lacks {min(missing)}")
    if more := [name for name in state if name not in needed and not name.startswith(optional)]:
        raise ValueError(f"the state dict has {min(more)}, which this layer has not")


def _projections(state: Mapping[str, Tensor], layer: DeformSampling2d, first: str) -> dict[str, Tensor]:
    """Return both projections as pointwise convolutions: the identity where the state has none."""
    converted = {}
    for ours, theirs in (("value_proj", first), ("output_proj", "output_proj")):
        projection = layer.get_submodule(ours)
        assert isinstance(projection, nn.Conv2d)
        weight = state.get(f"{theirs}.weight", torch.eye(*projection.weight.shape[:2]))
        converted[f"{ours}.weight"] = weight[:, :, None, None]
        if projection.bias is not None:
            converted[f"{ours}.bias"] = state.get(f"{theirs}.bias", torch.zeros(len(weight)))
        elif f"{theirs}.bias" in state:
            raise ValueError(f"the state dict has {theirs}.bias, but the layer's projections have no bias")
    return converted


def _published_order(layer: DeformSampling2d) -> list[int]:
    """Return for each sampling point of ours, row by row, its number in the authors' layers, which go column by column."""
    high, wide = layer.kernel_size
    middle = (high // 2, wide // 2) if layer.remove_center else None
    theirs = [(row, column) for column in range(wide) for row in range(high) if (row, column) != middle]
    ours = [(row, column) for row in range(high) for column in range(wide) if (row, column) != middle]
    return [theirs.index(point) for point in ours]
