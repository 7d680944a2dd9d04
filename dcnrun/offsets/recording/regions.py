"""The bins of a RoI pooling in the image, as their offsets move them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcnrun.models.roi_pool import PlainRoIPool
from dcnrun.offsets.grid import Grid
from dcnrun.offsets.layers import RoIs


def pooled_regions(
    name: str,
    pool: PlainRoIPool,
    boxes: Sequence[Tensor],
    grids: dict[str, Grid],
    offset: Tensor | None,
    mask: Tensor | None,
) -> RoIs:
    """Return the regions and bins of one call of a RoI pooling.

    Args:
        name: the call's name.
        pool: the pooling that was called.
        boxes: (R, 4), of one image.
        grids: the grids of the pooled feature maps, by name.
        offset: (R, 2, ph, pw), output of the offset branch; None without one.
        mask: (R, 1, ph, pw), likewise; None without modulation.
    """
    level, start, size = (tensor.cpu() for tensor in pool.regions([box.detach() for box in boxes]))
    bins_high, bins_wide = pool.output_size
    y, x = (torch.arange(bins_high) + 0.5) / bins_high, (torch.arange(bins_wide) + 0.5) / bins_wide
    fraction = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)  # (ph, pw, 2): centres, in fractions of the sides
    bin_size = size / size.new_tensor(pool.output_size)
    map_start = size.new_tensor([grid.start for grid in grids.values()])[level]
    map_step = size.new_tensor([grid.step for grid in grids.values()])[level]

    def to_image(fractions: Tensor) -> Tensor:
        """Convert positions in fractions of a region's sides (..., ph, pw, 2) to the image."""
        on_map = start[:, None, None] + fractions * size[:, None, None]
        return map_start[:, None, None] + on_map * map_step[:, None, None]

    moved = fraction if offset is None else fraction + pool.gamma * offset.detach().float().cpu().permute(0, 2, 3, 1)
    corners = to_image(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])).flatten(1)
    return RoIs(
        name=name,
        boxes=corners[:, [1, 0, 3, 2]],
        bins=to_image(moved),
        plain_bins=to_image(fraction),
        bin_size=(bin_size * map_step).abs(),
        mask=None if mask is None else mask.detach().float().cpu()[:, 0],
    )
