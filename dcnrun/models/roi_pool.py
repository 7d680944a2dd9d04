"""Pooling of regions, also at learnt points, in the place of torchvision's `MultiScaleRoIAlign`."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper, _convert_to_roi_format, _filter_input, _setup_scales

from dcnrun.config.schema import FasterRcnnConfig, RoiPool
from dcnrun.models.sampling import Sampling, SamplingRoIPool, checked_mask_start, modulation_mask
from dcnrun.ops import deform_roi_pool
from dcnrun.ops.common.operator import without_autocast
from dcnrun.ops.deform_roi_pool.arguments import Operands, regions

_Maps = dict[str, Tensor]
_Sizes = list[tuple[int, int]]
_Levels = tuple[list[float], Any]


class PooledRegions(NamedTuple):
    """Regions on the feature maps that they are pooled from, each in pixels of its own feature map; pairs are (y, x)."""

    level: Tensor
    """(R,): the feature map's index in `featmap_names`."""
    start: Tensor
    """(R, 2): the upper left corner."""
    size: Tensor
    """(R, 2): height and width."""


class RoIOffsetBranch(nn.Sequential):
    """The fully connected layers that predict the bins' offsets (and mask logits) from a region pooled without them.

    The last one is zero-initialised: training starts from bins without offsets. The branch runs in fp32 under autocast,
    since positions need the precision.
    """

    def __init__(self, in_features: int, hidden: Sequence[int], out_features: int) -> None:
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(in_features, width), nn.ReLU()]
            in_features = width
        last = nn.Linear(in_features, out_features)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(*layers, last)

    def forward(self, pooled: Tensor | torch.fx.Proxy) -> Tensor:
        """(R, C, ph, pw) to (R, outputs)."""
        if isinstance(pooled, torch.fx.Proxy):
            layers = [layer for layer in self if isinstance(layer, nn.Linear)]
            return _predict_offsets(pooled, [layer.weight for layer in layers], [layer.bias for layer in layers])
        with without_autocast(pooled.device.type):
            output: Tensor = super().forward(pooled.flatten(1).to(next(self.parameters()).dtype))  # type: ignore[no-untyped-call]
        return output


class _Assigned(NamedTuple):
    """Boxes on the feature maps that they are pooled from."""

    maps: list[Tensor]
    scales: list[float]
    rois: Tensor
    """(R, 5), image after image."""
    indices: list[Tensor]
    """For each feature map, the indices of its RoIs; none where one map has them all."""


# torch.fx takes these for steps of a network: inside, they ask of their input what a traced one does not tell.


@torch.fx.wrap
def _predict_offsets(pooled: Any, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Compute an offset branch of a traced network, in one step since torch.fx drops regions without autocast."""
    with without_autocast(pooled.device.type):
        features = pooled.flatten(1).to(weights[0].dtype)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            features = functional.linear(features, weight, bias).relu()
        return functional.linear(features, weights[-1], biases[-1])


@torch.fx.wrap
def _find_levels(x: _Maps, image_shapes: _Sizes, names: list[str], scale: int, level: int) -> _Levels:
    """Return the scales of the feature maps, and what finds the one of a box, as torchvision does."""
    scales, mapper = _setup_scales(_filter_input(x, names), image_shapes, scale, level)
    return scales, mapper


@torch.fx.wrap
def _assign(x: _Maps, boxes: list[Tensor], names: list[str], levels: _Levels) -> _Assigned:
    """Find the feature map of each box."""
    maps, (scales, mapper) = _filter_input(x, names), levels
    rois = _convert_to_roi_format(boxes)
    if len(maps) == 1:
        return _Assigned(maps, scales, rois, [])
    level_of = (LevelMapper(*mapper) if isinstance(mapper, tuple) else mapper)(boxes)
    return _Assigned(maps, scales, rois, [torch.where(level_of == i)[0] for i in range(len(maps))])


@torch.fx.wrap
def _pool(assigned: _Assigned, settings: tuple[Any, ...], offset: Tensor | None, mask: Tensor | None) -> Tensor:
    """Pool each feature map's boxes, and put them in order; the settings are output_size, sampling_ratio, gamma, aligned."""
    size, ratio, gamma, aligned = settings

    def pool_from(index: int, rois: Tensor, offset: Tensor | None, mask: Tensor | None) -> Tensor:
        scale = assigned.scales[index]
        return deform_roi_pool(assigned.maps[index], rois, offset, size, scale, ratio, gamma, mask, aligned)

    if not assigned.indices:
        return pool_from(0, assigned.rois, offset, mask)
    parts = []
    for index, its in enumerate(assigned.indices):
        offset_and_mask = (None if tensor is None else tensor[its] for tensor in (offset, mask))
        parts.append(pool_from(index, assigned.rois[its], *offset_and_mask))
    pooled = torch.cat(parts)
    every = pooled.new_zeros(assigned.rois.shape[0], *pooled.shape[1:])
    return every.index_copy(0, torch.cat(assigned.indices), pooled)


class PlainRoIPool(MultiScaleRoIAlign):  # type: ignore[misc]
    """torchvision's `MultiScaleRoIAlign`, computed by our operator: the plain control of deformable RoI pooling.

    Args:
        aligned: whether coordinates are shifted by half a pixel, as torchvision's roi_align calls it; its detectors don't.
    """

    gamma = 0.0  # of offsets, which it has none of
    scales: list[float] | None
    map_levels: Callable[[list[Tensor]], Tensor] | None

    def __init__(self, *args: Any, aligned: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.aligned = aligned

    def forward(self, x: _Maps, boxes: list[Tensor], image_shapes: _Sizes) -> Tensor:
        """Feature maps by name, each image's boxes (Ri, 4) and its (height, width) to (R, C, ph, pw), image after image."""
        return self._pool(self._assign(x, boxes, image_shapes))

    def regions(self, boxes: list[Tensor]) -> PooledRegions:
        """Return where each image's boxes (Ri, 4) lie on the feature maps that they are pooled from.

        The layer must have run: torchvision finds the scales of feature maps in the first forward pass.
        """
        assert self.scales is not None
        rois = _convert_to_roi_format(boxes).float()
        level = torch.zeros(len(rois), dtype=torch.long, device=rois.device)
        if len(self.scales) > 1 and self.map_levels is not None:
            level = self.map_levels(boxes)
        rois[:, 1:] *= rois.new_tensor(self.scales)[level, None]
        settings = (self.output_size, 1.0, self.sampling_ratio, self.gamma, self.aligned, False)
        on_map = regions(Operands(rois, rois, None, None, *settings))
        return PooledRegions(level, on_map.start, on_map.size)

    def _assign(self, x: _Maps, boxes: list[Tensor], image_shapes: _Sizes) -> _Assigned:
        return _assign(x, boxes, self.featmap_names, self._levels(x, image_shapes))

    def _levels(self, x: _Maps, image_shapes: _Sizes) -> _Levels:
        """Scales of the feature maps and what finds a box's: found once and kept, but while torch.fx traces the layer."""
        if self.scales is None or self.map_levels is None:
            found: Any = _find_levels(x, image_shapes, self.featmap_names, self.canonical_scale, self.canonical_level)
            if isinstance(found, torch.fx.Proxy):
                return cast(_Levels, found)
            self.scales, self.map_levels = found
        # Numbers, since torch.fx knows no such object.
        is_usual = isinstance(self.map_levels, LevelMapper)
        return self.scales, tuple(vars(self.map_levels).values()) if is_usual else self.map_levels

    def _pool(self, assigned: _Assigned, offset: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return _pool(assigned, (self.output_size, self.sampling_ratio, self.gamma, self.aligned), offset, mask)

    __repr__ = nn.Module.__repr__  # which shows what is inside, as torchvision's does not

    def extra_repr(self) -> str:
        """The settings of `MultiScaleRoIAlign`."""
        return f"{self.featmap_names}, {self.output_size}, sampling_ratio={self.sampling_ratio}"


class DeformRoIPool(PlainRoIPool, SamplingRoIPool):
    """Deformable RoI pooling with its own offset branch, over one feature map or a pyramid (Dai et al. 2017, section 2.2).

    Takes the arguments of `MultiScaleRoIAlign`, whose rule selects the level that a region is pooled from, and equals it
    while the offset branch is untrained. torchvision's Faster R-CNN takes it as `box_roi_pool`, for example
    `DeformRoIPool(["0", "1", "2", "3"], 7, 2, channels=256)`.

    Args:
        channels: of the feature maps.
        gamma: an offset of 1 moves a bin by this share of the region's side.
        hidden: widths of the offset branch's hidden layers: two of 1024 as in DCNv2, none as in DCNv1's code.
        aligned: as for `PlainRoIPool`.
    """

    channels_per_bin = 2
    """Of the offset branch: y and x."""

    def __init__(
        self, *args: Any, channels: int, gamma: float = 0.1, hidden: Sequence[int] = (1024, 1024), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gamma = gamma
        bins = prod(self.output_size)
        self.offset_branch = RoIOffsetBranch(channels * bins, hidden, self.channels_per_bin * bins)

    def forward(self, x: _Maps, boxes: list[Tensor], image_shapes: _Sizes) -> Tensor:
        """Feature maps by name, each image's boxes (Ri, 4) and its (height, width) to (R, C, ph, pw), image after image."""
        assigned = self._assign(x, boxes, image_shapes)
        return self._pool(assigned, *self.split_branch(self.offset_branch(self._pool(assigned))))

    def offsets(self, x: _Maps, boxes: list[Tensor], image_shapes: _Sizes) -> tuple[Tensor, Tensor | None]:
        """Return offsets (R, 2, ph, pw), y and x, and the mask or None; a bin moves by gamma * offset * the region's side."""
        return self.split_branch(self.offset_branch(self._pool(self._assign(x, boxes, image_shapes))))

    def sampling(self, x: _Maps, boxes: list[Tensor], image_shapes: _Sizes, branch: Tensor | None = None) -> Sampling:
        """Return the centres of the bins, and offsets in pixels, each on the feature map that its region is pooled from."""
        offset, mask = self.offsets(x, boxes, image_shapes) if branch is None else self.split_branch(branch)
        level, start, size = self.regions(boxes)
        high, wide = self.output_size
        plain_y = start[:, 0, None, None] + size[:, 0, None, None] * _centres(high, size)[:, None]
        plain_x = start[:, 1, None, None] + size[:, 1, None, None] * _centres(wide, size)
        moved = self.gamma * offset * size[:, :, None, None]
        map_sizes = size.new_tensor([each.shape[-2:] for each in _filter_input(x, self.featmap_names)])
        height, width = map_sizes[level, :, None, None].unbind(1)
        points = plain_y + moved[:, 0], plain_x + moved[:, 1]
        return Sampling(moved, mask, *points, plain_y, plain_x, (height, width))

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return all of it as offsets, and no mask."""
        return output.reshape(output.shape[0], 2, *self.output_size), None

    def extra_repr(self) -> str:
        """The settings of `PlainRoIPool`, and gamma."""
        return f"{super().extra_repr()}, gamma={self.gamma}"


class ModulatedDeformRoIPool(DeformRoIPool):
    """Modulated deformable RoI pooling (DCNv2): each bin is also weighed by a learnt mask.

    `mask_start` is the mask before training: 0.5 (sigmoid, as in the paper) or 1 (2 x sigmoid, as in the authors'
    code: the fresh layer then equals `MultiScaleRoIAlign`).
    """

    channels_per_bin = 3
    """y, x and the mask."""

    def __init__(self, *args: Any, mask_start: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mask_start = checked_mask_start(mask_start)

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split into offsets, which come first, and masks from one logit per bin."""
        offset, logits = torch.split(output.reshape(output.shape[0], 3, *self.output_size), [2, 1], dim=1)
        return offset, modulation_mask(logits, self.mask_start)

    def extra_repr(self) -> str:
        """The settings of `DeformRoIPool` and the mask's start."""
        return f"{super().extra_repr()}, mask_start={self.mask_start}"


def from_mmcv_roi_pool_state(state: Mapping[str, Tensor], layer: DeformRoIPool) -> dict[str, Tensor]:
    """Convert the state dict of mmcv's DeformRoIPoolPack to one for `layer.load_state_dict`.

    There the first half of what the last layer predicts is x, here y. The layer needs two hidden layers as wide as mmcv's, `aligned=True` and
    mmcv's `gamma`; its `sampling_ratio=0` is -1 here.

    Raises:
        ValueError: the state has not the names or the width that this layer needs, as that of ModulatedDeformRoIPoolPack, whose
            masks come from layers of their own.
    """
    wanted = {f"offset_fc.{key}": value for key, value in layer.offset_branch.state_dict().items()}
    if type(layer) is not DeformRoIPool or state.keys() != wanted.keys():
        names = ", ".join(sorted(state)) or "nothing"
        raise ValueError(
            f"expected a DeformRoIPool and {', '.join(wanted)}, but have {type(layer).__name__} and {names}"
        )
    last = list(wanted)[-1].rpartition(".")[0]
    converted = {}
    for name, like in wanted.items():
        if state[name].shape != like.shape:
            raise ValueError(f"{name} has shape {tuple(state[name].shape)}, but this layer needs {tuple(like.shape)}")
        value = state[name]
        if name.rpartition(".")[0] == last:
            value = torch.cat(value.chunk(2)[::-1])
        converted[name.replace("offset_fc", "offset_branch")] = value
    return converted


def build_roi_pool(model: FasterRcnnConfig, featmap_names: list[str]) -> PlainRoIPool:
    """Build the pooling of a config over these feature maps, with the offset branch of the paper that it is from."""
    common: dict[str, Any] = {"featmap_names": featmap_names, "output_size": model.roi_size, "sampling_ratio": 2}
    learnt: dict[str, Any] = {"channels": model.fpn_channels, "gamma": model.roi_gamma}
    match model.roi_pool:
        case RoiPool.align:
            return PlainRoIPool(**common)
        case RoiPool.deformable:  # offsets right from the pooled features, as in DCNv1
            return DeformRoIPool(**common, **learnt, hidden=())
        case RoiPool.modulated:  # after two hidden layers, as in DCNv2
            return ModulatedDeformRoIPool(**common, **learnt, hidden=(model.roi_channels, model.roi_channels))


def _centres(bins: int, like: Tensor) -> Tensor:
    """The centres of bins along a side, as shares of it."""
    return (torch.arange(bins, device=like.device, dtype=like.dtype) + 0.5) / bins
