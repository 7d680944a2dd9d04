"""Plot sampling points on the image, of single layers and composed through several."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dcnrun.offsets.geometry import LIMIT, Points, chain_to, compose
from dcnrun.offsets.layers import Capture, Layer
from dcnrun.plotting import COLOURS, YELLOW
from dcnrun.visualize.pictures.panels import OUTLINE, Picture, aspect, panels, short_layer, show_image
from dcnrun.visualize.query_points import QueryPoint
from dcnrun.visualize.viewer.page import LONGEST_CHAIN

GROUP_COLOURS = (*COLOURS[:-1], YELLOW)  # on images yellow is easier to see than black
MARGIN = 0.12  # around the image, as a share of its longer side
_SMALLEST = 3.0  # area of a dot in square points
_CROWDED = 100  # points from which on dots are smaller and fainter, so that the image is seen
# Of the way from a panel's middle to its edge: if all points are nearer than the first, panels are enlarged.
_FAR, _NEAR = 1 / 8, 1 / 100
_LEGEND = 0.28  # inches, of one row


def plot_sampling_points(
    title: str, picture: Picture, capture: Capture, layers: Sequence[str], query_points: Sequence[QueryPoint]
) -> Figure:
    """Plot a row for each query point; a column for each layer, and one for the chain of layers that ends in the last."""
    chains: list[tuple[Layer, ...]] = [(capture.layer(name),) for name in layers]
    if len(longest := chain_to(capture, layers[-1], LONGEST_CHAIN)) > 1:
        chains.append(longest)
    contents = [[_content(chain, *point.output_pixel(chain[-1])) for chain in chains] for point in query_points]
    margin = MARGIN * max(picture.shape[:2])
    enlarged = _enlargement([content for row in contents for content in row], picture, margin)
    groups = max(chain[-1].offset_groups for chain in chains)
    drawn = panels(
        f"{title}\nSampling points: dots as strong as mask x weight"
        + (f"; around each query point, {enlarged:.0f} times enlarged" if enlarged > 1 else ""),
        [point.label for point in query_points],
        [_title(chain) for chain in chains],
        aspect(picture, margin),
        below=_LEGEND * (2 if groups > 1 else 1),
    )
    for row, row_contents in zip(drawn.axes, contents, strict=True):
        for axes, content in zip(row, row_contents, strict=True):
            show_image(axes, picture, margin)
            if enlarged > 1:
                _enlarge(axes, content.centre, enlarged)
            draw_points(axes, content.points, content.plain)
            draw_centre(axes, *content.centre)
    _legend(drawn.figure, groups)
    return drawn.figure


@dataclass(frozen=True)
class _Content:
    """The content of one panel."""

    points: Points
    plain: Points | None
    """The points of a single layer without offsets; None for a chain, where they would be too many to see."""
    centre: tuple[float, float]
    """The filter's centre in the image."""


def _title(chain: Sequence[Layer]) -> str:
    """Return the title of a column: the layers' names, and how many points are drawn if not all are."""
    first, last = chain[0], chain[-1]
    if first is last:
        return short_layer(last.name)
    every, limit = prod(layer.offset_groups * layer.num_points for layer in chain), _limit(chain)
    left_out = f"\nthe {limit:,} strongest of {every:,} points" if every > limit else ""
    return f"{short_layer(first.name)} to {short_layer(last.name)}, composed{left_out}"


def _limit(chain: Sequence[Layer]) -> int:
    """Return the most points of a chain that are drawn: as many for each offset group as on the page."""
    return LIMIT * chain[-1].offset_groups


def _content(chain: Sequence[Layer], y: int, x: int) -> _Content:
    """Return the content of a chain's panel for output pixel (y, x)."""
    last = chain[-1]
    centre = last.output_grid.to_image(torch.tensor([y, x], dtype=torch.float64)).tolist()
    without = replace(last, offset=torch.zeros_like(last.offset))
    plain = compose([without], y, x) if len(chain) == 1 else None
    return _Content(compose(chain, y, x, _limit(chain)), plain, (centre[0], centre[1]))


def _enlargement(contents: Sequence[_Content], picture: Picture, margin: float) -> float:
    """Return how many times the image is enlarged in all panels: 1 unless all points are near the query points."""
    half = torch.tensor([side / 2 + margin for side in picture.shape[:2]], dtype=torch.float64)
    ways = [
        (each.points.in_image()[each.points.inside] - torch.tensor(each.centre, dtype=torch.float64)).abs() / half
        for each in contents
    ]
    farthest = max((float(way.max()) for way in ways if len(way)), default=1.0)
    return 1 / (2 * max(farthest, _NEAR)) if farthest < _FAR else 1.0


def _enlarge(axes: Axes, centre: tuple[float, float], times: float) -> None:
    """Set the axes' limits to the surroundings of a query point, in the panel's proportions."""
    y, x = centre
    half_height, half_width = (abs(high - low) / 2 / times for low, high in (axes.get_ylim(), axes.get_xlim()))
    axes.set_xlim(x - half_width, x + half_width)
    axes.set_ylim(y + half_height, y - half_height)


def draw_points(axes: Axes, points: Points, plain: Points | None = None) -> None:
    """Draw dots as strong as mask x weight, coloured by the last layer's group; crosses where only padding is read.

    Points beyond the axes are drawn at their edge. If `plain` gives the same points without offsets, lines show how each
    moved.
    """
    placed = points.in_image().numpy()
    known = np.isfinite(placed).all(1)  # a network that diverged has points without a position
    (left, right), (top, bottom) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    shown = placed.clip([top, left], [bottom, right])
    if plain is not None:
        lines = np.stack([plain.in_image().numpy(), placed], 1)[known][..., ::-1]
        axes.add_collection(LineCollection(list(lines), colors="white", linewidths=0.7, alpha=0.8, zorder=2))
    relative = points.strength.numpy() / max(float(points.strength.max()), 1e-12)
    few = len(points) < _CROWDED
    area, weakest, strongest = (46.0, 0.25, 1.0) if few else (14.0, 0.2, 0.85)  # in square points, and opacities
    group, inside = points.group[:, 0].numpy(), points.inside.numpy()
    for is_inside, marker in ((False, "x"), (True, "o")):
        chosen = known & (inside == is_inside)
        colours = np.array([to_rgb(colour_of(one)) for one in group[chosen]]).reshape(-1, 3)
        opacity = weakest + (strongest - weakest) * relative[chosen, None]
        axes.scatter(
            shown[chosen, 1],
            shown[chosen, 0],
            s=(_SMALLEST + area * relative[chosen]) * min(1.0, LIMIT / len(points)),
            c=np.concatenate([colours, opacity], 1),
            marker=marker,
            linewidths=1.0 if not is_inside else 0.4 if few else 0.2,
            edgecolors=OUTLINE if is_inside else None,
            zorder=3,
        )


def draw_centre(axes: Axes, y: float, x: float) -> None:
    """Mark the filter's centre."""
    for colour, width in (("white", 3.0), ("#D50000", 1.4)):
        axes.plot([x], [y], marker="+", markersize=11, markeredgewidth=width, color=colour, zorder=4)


def colour_of(group: int) -> str:
    """Return the colour of an offset group; the eighth has that of the first."""
    return GROUP_COLOURS[group % len(GROUP_COLOURS)]


def _legend(figure: Figure, groups: int) -> None:
    first = colour_of(0)
    entries = {
        "centre of the filter": _entry("+", "#D50000", 9),
        "strong": _entry("o", first, 7),
        "weak": _entry("o", first, 2.5),
        "reads only padding": _entry("x", first, 5),
        "from the plain grid": Line2D([], [], color="#AAAAAA", linewidth=1),
    }
    of_groups = {f"group {group}": _entry("o", colour_of(group), 7) for group in range(min(groups, len(GROUP_COLOURS)))}
    for row, meaning in enumerate([entries, of_groups] if groups > 1 else [entries]):
        below = row * _LEGEND / figure.get_figheight()
        figure.legend(
            list(meaning.values()),
            list(meaning),
            loc="lower center",
            bbox_to_anchor=(0.5, below),
            ncols=len(meaning),
            columnspacing=1.2,
            fontsize=7,
            frameon=False,
        )


def _entry(marker: str, colour: str, size: float) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=size)
