"""The query points of an image, whose filters are drawn: given ones, or one on an object of each size and one on background."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor

from dcnrun.errors import UsageError
from dcnrun.offsets.grid import Grid, Pair
from dcnrun.offsets.layers import Layer
from dcnrun.offsets.objects import BACKGROUND_OWNER, Objects, SizeClass, Thresholds


@dataclass(frozen=True)
class QueryPoint:
    """A pixel of the image, with a label."""

    y: int
    x: int
    label: str
    box: tuple[float, float, float, float] | None = None
    """x1, y1, x2, y2 of the object that it is on, in the coordinates of data sets."""

    def output_pixel(self, layer: Layer) -> Pair:
        """Return the output pixel of a layer whose filter's centre is nearest; of two the lower or right one, as on the page."""
        position = layer.output_grid.to_map(torch.tensor([self.y, self.x], dtype=torch.float64)).tolist()
        y, x = (
            min(max(math.floor(at + 0.5), 0), size - 1) for at, size in zip(position, layer.output_size, strict=True)
        )
        return y, x


def query_points(name: str, objects: Objects, at: Sequence[Pair]) -> list[QueryPoint]:
    """Return the query points `at`, else automatic ones, each once; UsageError for one outside the image called `name`."""
    for y, x in at:
        if not (0 <= y < objects.size[0] and 0 <= x < objects.size[1]):
            raise UsageError(
                f"--at {y},{x} is outside of {name}, which the network sees as {objects.size[0]} x {objects.size[1]} "
                "pixels (height x width)."
            )
    found = [QueryPoint(y, x, f"at {y},{x}") for y, x in at] or _automatic(objects)
    return list(dict.fromkeys(found))


def _automatic(objects: Objects) -> Iterator[QueryPoint]:
    if objects.unknown.all():  # the middle of the image, and the points half-way to its corners
        for down, right in ((2, 2), (1, 1), (1, 3), (3, 1), (3, 3)):
            y, x = objects.size[0] * down // 4, objects.size[1] * right // 4
            yield QueryPoint(y, x, f"at {y},{x}")
        return
    owners = objects.owners(Grid(), objects.size)
    classes = Thresholds().classify(objects.area).tolist()
    for size_class, size in enumerate(list(SizeClass)[:-1]):
        of_size = [i for i, own in enumerate(classes) if own == size_class]
        yield from _on_object(objects, of_size, owners, size)
    # The background pixel that is farthest from all objects and from the image's edges.
    background = torch.nn.functional.pad(owners == BACKGROUND_OWNER, (1, 1, 1, 1))
    distance = ndimage.distance_transform_edt(background.numpy())[1:-1, 1:-1]
    if distance.max() > 0:
        y, x = divmod(int(distance.argmax()), distance.shape[1])
        yield QueryPoint(y, x, f"{SizeClass.background.value} at {y},{x}")


def _on_object(objects: Objects, candidates: Sequence[int], owners: Tensor, size: SizeClass) -> Iterator[QueryPoint]:
    """Yield the middle of one of the objects: of those not covered there by a smaller one, the nearest to the image's middle."""
    height, width = objects.size
    visible = []
    for i in candidates:
        left, top, right, bottom = objects.boxes[i].tolist()
        y, x = int((top + bottom) / 2), int((left + right) / 2)
        if 0 <= y < height and 0 <= x < width and owners[y, x] == i:
            label = f"{size.value} {objects.classes[i]} at {y},{x}"
            visible.append(QueryPoint(y, x, label, (left, top, right, bottom)))
    if visible:
        yield min(visible, key=lambda point: (point.y - height / 2) ** 2 + (point.x - width / 2) ** 2)
