"""Plot the bins of regions, as deformable RoI pooling moves them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torchvision.ops import box_iou

from dcnrun.offsets.layers import RoIs
from dcnrun.plotting import BLUE, YELLOW
from dcnrun.visualize.pictures.panels import Picture, panels, show_image
from dcnrun.visualize.query_points import QueryPoint

_AROUND = 0.35  # shown around a region, as a share of its side
_BIN_SHARE = 0.45  # drawn of a bin's side: whole bins would hide each other


def plot_regions(title: str, picture: Picture, rois: RoIs, query_points: Sequence[QueryPoint]) -> Figure | None:
    """Plot a panel for the region of each query point; None if there is no region at any."""
    chosen = [(point, region) for point in query_points for region in region_at(rois, point)]
    if not chosen:
        return None
    drawn = panels(
        f"{title}, {rois.name}\nRegion (white), its bins without offsets (black) and as they are moved (blue, weaker\n"
        "where the mask is less); dashed: the object",
        [""],
        [f"{point.label}: region {region}" for point, region in chosen],
        1.0,
    )
    for axes, (point, region) in zip(drawn.axes[0], chosen, strict=True):
        show_image(axes, picture)
        if point.box is not None:
            _draw_box(axes, [side - 0.5 for side in point.box], YELLOW, "--")
        draw_region(axes, rois, region)
    return drawn.figure


def region_at(rois: RoIs, point: QueryPoint) -> Iterator[int]:
    """Yield the region that fits the query point's object best; without an object, the first that contains the point.

    Regions are in the order of their scores."""
    if not len(rois.boxes):
        return
    if point.box is not None:
        box = torch.tensor([point.box]) - 0.5  # in data sets pixel i is from i to i + 1, in regions it is centred at i
        overlap = box_iou(box, rois.boxes.float())[0]
        if overlap.max() > 0:
            yield int(overlap.argmax())
        return
    left, top, right, bottom = rois.boxes.unbind(1)
    containing = (left <= point.x) & (point.x <= right) & (top <= point.y) & (point.y <= bottom)
    yield from containing.nonzero()[:1, 0].tolist()


def draw_region(axes: Axes, rois: RoIs, region: int) -> None:
    """Draw a region's box, its plain bins and its moved bins, and set the axes' limits around them."""
    left, top, right, bottom = rois.boxes[region].tolist()
    _draw_box(axes, rois.boxes[region].tolist(), "white", "-")
    plain, moved = (bins[region].reshape(-1, 2).numpy()[:, ::-1] for bins in (rois.plain_bins, rois.bins))
    strength = np.ones(len(moved)) if rois.mask is None else rois.mask[region].flatten().numpy().clip(0, 1)
    axes.add_collection(LineCollection(list(np.stack([plain, moved], 1)), colors="white", linewidths=0.8))
    axes.scatter(plain[:, 0], plain[:, 1], s=5, color="black", edgecolors="white", linewidths=0.3, zorder=2)
    height, width = (float(side) for side in rois.bin_size[region] * _BIN_SHARE)
    bins = [Rectangle((x - width / 2, y - height / 2), width, height) for x, y in moved]
    colours = [(*to_rgb(BLUE), 0.25 + 0.6 * one) for one in strength]
    axes.add_collection(PatchCollection(bins, facecolors=colours, edgecolors="white", linewidths=0.4, zorder=3))
    middle, half = ((left + right) / 2, (top + bottom) / 2), max(right - left, bottom - top) * (0.5 + _AROUND)
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] + half, middle[1] - half)


def _draw_box(axes: Axes, box: Sequence[float], colour: str, line: str) -> None:
    left, top, right, bottom = box
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=2, linestyle=line)
    )
