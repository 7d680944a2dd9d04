"""Pooling of regions, also at places that the network learns, in the place of torchvision's `MultiScaleRoIAlign`."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import _convert_to_roi_format, _filter_input, _setup_scales

from dcnrun.models.modulation import checked_mask_start, modulation_mask
from dcnrun.ops import deform_roi_pool
from dcnrun.ops.common.precision import without_autocast


class RoIOffsetBranch(nn.Sequential):
    """The fully connected layers that predict the bins' offsets (and mask logits) from a region pooled without them.

    The last one is zero-initialised: training starts from bins that lie still. It runs in fp32 under autocast, since
    positions need the precision.
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

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C, ph, pw) to (R, outputs)."""
        with without_autocast(pooled.device.type):
            output: Tensor = super().forward(pooled.flatten(1).to(next(self.parameters()).dtype))  # type: ignore[no-untyped-call]
        return output


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

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Maps by name, each image's boxes (Ri, 4) and its (height, width) to (R, C, ph, pw), image after image."""
        pooled: Tensor = self._pool_of(x, boxes, image_shapes)()
        return pooled

    def _pool_of(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Callable[..., Tensor]:
        """What pools these boxes for given offsets and masks, or for none."""
        maps = _filter_input(x, self.featmap_names)
        if self.scales is None or self.map_levels is None:
            self.scales, self.map_levels = _setup_scales(maps, image_shapes, self.canonical_scale, self.canonical_level)
        rois = _convert_to_roi_format(boxes)
        if len(maps) == 1:
            return partial(self._pool_level, maps[0], self.scales[0], rois)
        level_of = self.map_levels(boxes)
        levels = [
            (map, scale, torch.where(level_of == i)[0])
            for i, (map, scale) in enumerate(zip(maps, self.scales, strict=True))
        ]
        return partial(self._pool_levels, levels, rois)

    def _pool_levels(
        self,
        levels: list[tuple[Tensor, float, Tensor]],
        rois: Tensor,
        offset: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Pool each level's RoIs (its map, scale, and their numbers), and put them in order."""
        pooled = torch.cat(
            [
                self._pool_level(map, scale, rois[its], *(t if t is None else t[its] for t in (offset, mask)))
                for map, scale, its in levels
            ]
        )
        every = pooled.new_zeros(rois.shape[0], *pooled.shape[1:])
        return every.index_copy(0, torch.cat([its for _, _, its in levels]), pooled)

    def _pool_level(
        self, map: Tensor, scale: float, rois: Tensor, offset: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        return deform_roi_pool(
            map, rois, offset, self.output_size, scale, self.sampling_ratio, self.gamma, mask, self.aligned
        )

    __repr__ = nn.Module.__repr__  # which shows what is inside, as torchvision's does not

    def extra_repr(self) -> str:
        """The settings of `MultiScaleRoIAlign`."""
        return f"{self.featmap_names}, {self.output_size}, sampling_ratio={self.sampling_ratio}"


class DeformRoIPool(PlainRoIPool):
    """Deformable RoI pooling with its own offset branch, over one map or a pyramid (Dai et al. 2017, section 2.2).

    Takes the arguments of `MultiScaleRoIAlign`, whose rule tells which level a region is pooled from, and equals it as
    long as the offset branch is fresh. torchvision's Faster R-CNN takes it as `box_roi_pool`, such as
    `DeformRoIPool(["0", "1", "2", "3"], 7, 2, channels=256)`.

    Args:
        channels: of the maps.
        gamma: an offset of 1 moves a bin by this share of the region's side.
        hidden: widths of the offset branch's hidden layers: two of 1024 as in DCNv2, none as in DCNv1's code.
        aligned: as for `PlainRoIPool`.
    """

    channels_per_bin = 2  # y and x

    def __init__(
        self,
        *args: Any,
        channels: int,
        gamma: float = 0.1,
        hidden: Sequence[int] = (1024, 1024),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gamma = gamma
        bins = prod(self.output_size)
        self.offset_branch = RoIOffsetBranch(channels * bins, hidden, self.channels_per_bin * bins)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Maps by name, each image's boxes (Ri, 4) and its (height, width) to (R, C, ph, pw), image after image."""
        pool = self._pool_of(x, boxes, image_shapes)
        return pool(*self.split_branch(self.offset_branch(pool())))

    def offsets(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor | None]:
        """Offsets (R, 2, ph, pw), y and x, of which gamma times the region's side is what a bin moves by, and the mask or None."""
        return self.split_branch(self.offset_branch(self._pool_of(x, boxes, image_shapes)()))

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take the offset branch's output apart into offsets and mask."""
        return output.reshape(len(output), 2, *self.output_size), None

    def extra_repr(self) -> str:
        """The settings of `PlainRoIPool`, and gamma."""
        return f"{super().extra_repr()}, gamma={self.gamma}"


class ModulatedDeformRoIPool(DeformRoIPool):
    """Modulated deformable RoI pooling (DCNv2): each bin is also weighed by a learnt mask.

    `mask_start` is the mask before training: 0.5 (sigmoid, as in the paper) or 1 (2 x sigmoid, as in the authors'
    code: the fresh layer then equals `MultiScaleRoIAlign`).
    """

    channels_per_bin = 3  # y, x and the mask

    def __init__(self, *args: Any, mask_start: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mask_start = checked_mask_start(mask_start)

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Offsets come first, then one mask logit per bin."""
        offset, logits = torch.split(output.reshape(len(output), 3, *self.output_size), [2, 1], dim=1)
        return offset, modulation_mask(logits, self.mask_start)

    def extra_repr(self) -> str:
        """The settings of `DeformRoIPool` and the mask's start."""
        return f"{super().extra_repr()}, mask_start={self.mask_start}"
