"""Where a RoI pooling reads: its bins, moved by their offsets, in the image."""

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
    """What a pooling that has run read for the boxes (R, 4) of one image.

    `grids` are those of the pooled maps by name; `offset` (R, 2, ph, pw) and `mask` (R, 1, ph, pw) are what its offset
    branch said, None where it has none.
    """
    level, start, size = (tensor.cpu() for tensor in pool.regions([box.detach() for box in boxes]))
    bins_high, bins_wide = pool.output_size
    y = (torch.arange(bins_high) + 0.5) / bins_high
    x = (torch.arange(bins_wide) + 0.5) / bins_wide
    share = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)  # (ph, pw, 2): centres, in sides of a region
    bin_size = size / size.new_tensor(pool.output_size)

    map_start = size.new_tensor([grid.start for grid in grids.values()])[level]
    map_step = size.new_tensor([grid.step for grid in grids.values()])[level]

    def to_image(shares: Tensor) -> Tensor:
        """Places in sides of a region (..., ph, pw, 2) to the image."""
        on_map = start[:, None, None] + shares * size[:, None, None]
        return map_start[:, None, None] + on_map * map_step[:, None, None]

    moved = share if offset is None else share + pool.gamma * offset.detach().float().cpu().permute(0, 2, 3, 1)
    corners = to_image(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])).flatten(1)
    return RoIs(
        name=name,
        boxes=corners[:, [1, 0, 3, 2]],
        bins=to_image(moved),
        plain_bins=to_image(share),
        bin_size=(bin_size * map_step).abs(),
        mask=None if mask is None else mask.detach().float().cpu()[:, 0],
    )
