"""Objects found in tiles, put together to those of the image: each counts once, though several tiles see it."""

from typing import cast

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_area

from dcnrun.data.sample import Size
from dcnrun.tasks.detection.detector import Detections
from dcnrun.tasks.tiles import Tile

_COVERED = 0.7
"""A part of an object that its tile cuts is dropped where a box of another tile covers so much of it."""
_AT_EDGE = 1.0
"""Pixels from the edge of a tile within which a box ends there."""


class DetectionStitcher:
    """Takes boxes from tiles to the image; of one object seen by two tiles that cut neither, the surer box is kept."""

    def __init__(self, nms_threshold: float, seen: Size, size: Size) -> None:
        """`seen` is the size in which the network sees the image, `size` that of the image itself, which the boxes get."""
        self._nms_threshold = nms_threshold
        self._seen = seen
        self._size = size
        self._found: list[dict[str, Tensor]] = []

    def add(self, tile: Tile, found: Detections) -> None:
        """Add what was found in a tile, in its pixels."""
        boxes = found["boxes"]
        moved = boxes + boxes.new_tensor([tile.left, tile.top, tile.left, tile.top])
        number = torch.full_like(found["labels"], len(self._found))
        entries = {**cast(dict[str, Tensor], found), "boxes": moved, "cut": self._cut(boxes, tile), "tile": number}
        self._found.append(entries)

    def result(self) -> Detections:
        """Return the objects of the image, in its pixels."""
        every = {key: torch.cat([entries[key] for entries in self._found]) for key in self._found[0]}
        cut, scores = every["cut"], every["scores"]
        # whole objects first: a cut one may be surer of its part
        order = scores - cut.to(scores)
        # in fp64, since classes are set apart by multiples of the image's side, which in fp32 rounds boxes to half a pixel and more
        kept = batched_nms(every["boxes"].double(), order.double(), every["labels"], self._nms_threshold)
        every = {key: values[kept] for key, values in every.items()}
        whole = ~_covered(every)
        y, x = self._size.height / self._seen.height, self._size.width / self._seen.width
        every["boxes"] = every["boxes"] * every["boxes"].new_tensor([x, y, x, y])
        del every["cut"], every["tile"]
        return cast(Detections, {key: values[whole] for key, values in every.items()})

    def _cut(self, boxes: Tensor, tile: Tile) -> Tensor:
        """Return which boxes end where their tile does and the image doesn't."""
        left, top, right, bottom = boxes.unbind(1)
        return (
            ((left <= _AT_EDGE) & (tile.left > 0))
            | ((top <= _AT_EDGE) & (tile.top > 0))
            | ((right >= tile.width - _AT_EDGE) & (tile.left + tile.width < self._seen.width))
            | ((bottom >= tile.height - _AT_EDGE) & (tile.top + tile.height < self._seen.height))
        )


def _covered(every: dict[str, Tensor]) -> Tensor:
    """Return which cut boxes (n,) another tile's larger box of the same class covers."""
    covered = torch.zeros_like(every["cut"])
    boxes, areas = every["boxes"], box_area(every["boxes"])
    for index in every["cut"].nonzero().flatten().tolist():
        shared = (torch.minimum(boxes[:, 2:], boxes[index, 2:]) - torch.maximum(boxes[:, :2], boxes[index, :2])).clamp(
            min=0
        )
        is_other = (every["labels"] == every["labels"][index]) & (every["tile"] != every["tile"][index])
        larger = is_other & (areas > areas[index])
        covered[index] = (larger & (shared.prod(1) >= _COVERED * areas[index])).any()
    return covered
