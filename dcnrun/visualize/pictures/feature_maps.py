"""Offsets and masks of each layer as maps on the image: a row for each layer, a column for each sampling point that is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from dcnrun.offsets.grid import Pair
from dcnrun.offsets.layers import Layer
from dcnrun.visualize.pictures.panels import Panels, Picture, aspect, panels, short_layer, show_map

Floats = npt.NDArray[np.float64]

_COVERED = 0.99  # share of the lengths that the colours tell apart; longer ones are drawn as the longest of these
_BESIDE_FLOW = 2.4  # inches, for the image and the wheel
_BESIDE_MASKS = 2.9  # inches, for the image and the scale
_UNKNOWN = 0.5  # grey, where an offset is not a number


def plot_offset_flow(title: str, picture: Picture, layers: Sequence[Layer]) -> Figure | None:
    """Plot the offsets of the deformable layers as a flow field, with one scale for all; None if no layer is deformable.

    The hue is an offset's direction, the saturation its length. The columns are the mean over the sampling points, those
    in the kernel's corners, and the middle one.
    """
    deformable = [layer for layer in layers if layer.deformable]
    if not deformable:
        return None
    fields = [
        _columns(layer, layer.offset.numpy().mean(0, dtype=np.float64) * np.array(layer.input_grid.step)[:, None, None])
        for layer in deformable
    ]
    longest = full_colour([field for row in fields for field in row.values()])
    colours = [{name: flow_colours(field, longest) for name, field in row.items()} for row in fields]
    title = f"{title}\nOffsets in pixels of the image, mean over groups. Full colour: {longest:.3g} px"
    drawn, _ = _layer_panels(title, picture, deformable, colours, _BESIDE_FLOW)
    side = _BESIDE_FLOW - 0.3
    left = drawn.size[0] - side - 0.1
    draw_wheel(drawn.axes_in(left, drawn.top - side, side, side), longest)
    drawn.thumbnail(picture, left, drawn.top - side - 0.1, side)
    return drawn.figure


def plot_masks(title: str, picture: Picture, layers: Sequence[Layer]) -> Figure | None:
    """Plot the masks of the modulated layers, with columns as in `plot_offset_flow`; None if no layer is modulated."""
    modulated = [layer for layer in layers if layer.mask is not None]
    if not modulated:
        return None
    masks = [layer.mask.numpy().mean(0, dtype=np.float64) for layer in layers if layer.mask is not None]
    fields = [_columns(layer, mask) for layer, mask in zip(modulated, masks, strict=True)]
    drawn_fields = [field for by_name in fields for field in by_name.values()]
    if min(field.min() for field in drawn_fields) < 0:  # factors of DCNv4
        largest = float(max(np.abs(field[np.isfinite(field)]).max(initial=0) for field in drawn_fields)) or 1.0
        title = f"{title}\nMasks, mean over groups: blue is subtracted, white lets nothing through, red is added"
        colours: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    else:
        # 2 x sigmoid or sigmoid, by `conv.mask_start`: the scale is that of what the masks may be
        most = 2.0 if max(field.max() for field in drawn_fields) > 1 else 1.0
        doubled = ", 2 twice that" if most > 1 else ""
        title = f"{title}\nMasks, mean over groups: 0 lets nothing through, 1 all, as without a mask{doubled}"
        colours = {"cmap": "cividis", "vmin": 0, "vmax": most}
    drawn, shown = _layer_panels(title, picture, modulated, fields, _BESIDE_MASKS, **colours)
    width = drawn.size[0]
    drawn.thumbnail(picture, width - _BESIDE_MASKS + 0.1, drawn.top, _BESIDE_MASKS - 0.9)
    bar_height = min(drawn.top - 0.3, 3.0)
    scale = drawn.axes_in(width - 0.6, drawn.top - bar_height, 0.15, bar_height)
    drawn.figure.colorbar(shown, cax=scale).ax.tick_params(labelsize=7)
    return drawn.figure


def _layer_panels(
    title: str,
    picture: Picture,
    layers: Sequence[Layer],
    fields: Sequence[Mapping[str, Floats]],
    beside: float,
    **colours: Any,
) -> tuple[Panels, Any]:
    """Draw the fields of each layer in panels; return these, and the last field that was drawn.

    Panels that a layer with a smaller kernel leaves empty have no frame.
    """
    columns = max(map(list, fields), key=len)
    drawn = panels(title, [short_layer(layer.name) for layer in layers], columns, aspect(picture), beside=beside)
    for row, layer, by_name in zip(drawn.axes, layers, fields, strict=True):
        for axes, field in zip(row, by_name.values(), strict=False):
            shown = show_map(axes, field, layer.output_grid, (picture.shape[0], picture.shape[1]), **colours)
        for axes in row[len(by_name) :]:
            axes.axis("off")
    return drawn, shown


def _columns(layer: Layer, by_point: Floats) -> dict[str, Floats]:
    """Return what is shown of values (K, ...) of the kernel's sampling points, by column: mean, corners and middle."""
    shown = {name: by_point[index] for name, index in shown_points(layer.kernel_size).items()}
    return {f"mean of {len(by_point)} points": by_point.mean(0)} | shown


def shown_points(kernel_size: Pair) -> dict[str, int]:
    """Indices of the sampling points that stand for all, by name: those in the corners of the kernel and in its middle."""
    height, width = kernel_size
    positions = [(0, 0), (0, width - 1), (height // 2, width // 2), (height - 1, 0), (height - 1, width - 1)]
    return {f"point {y},{x}": y * width + x for y, x in dict.fromkeys(positions)}


def full_colour(fields: Sequence[Floats]) -> float:
    """Return the length that is drawn in full colour, the same for all fields; 1 where nothing moves."""
    lengths = np.concatenate([np.hypot(*field).ravel() for field in fields])
    lengths = lengths[np.isfinite(lengths)]
    return float(np.quantile(lengths, _COVERED)) or 1.0 if len(lengths) else 1.0


def flow_colours(field: Floats, longest: float) -> Floats:
    """Convert offsets (2, H, W), y then x, to colours (H, W, 3).

    White does not move, red moves to the right, and the hue goes on counterclockwise.
    """
    down, right = field
    known = np.isfinite(down) & np.isfinite(right)
    down, right = np.where(known, down, 0.0), np.where(known, right, 0.0)
    hue = np.arctan2(-down, right) / (2 * np.pi) % 1.0
    saturation = np.minimum(np.hypot(down, right) / longest, 1.0)
    colours = hsv_to_rgb(np.stack([hue, saturation, np.ones_like(hue)], -1))
    return np.where(known[..., None], colours, _UNKNOWN)


def draw_wheel(axes: Axes, longest: float) -> None:
    """Draw what the colours mean: the disc of all offsets up to `longest`."""
    way = np.linspace(-1, 1, 161)
    field = np.stack(np.meshgrid(way, way, indexing="ij")) * longest
    inside = np.hypot(*field)[..., None] <= longest
    axes.imshow(np.where(inside, flow_colours(field, longest), 1.0), extent=(-1, 1, 1, -1))
    axes.set(xticks=[], yticks=[], xlim=(-1.35, 1.35), ylim=(1.35, -1.35))
    axes.set_title(f"rim: {longest:.3g} px of the image or more", fontsize=8)
    for word, y, x in (("up", -1.15, 0.0), ("down", 1.15, 0.0), ("left", 0.0, -1.17), ("right", 0.0, 1.17)):
        axes.text(x, y, word, ha="center", va="center", fontsize=7, rotation=0 if x == 0 else 90)
    axes.spines[:].set_visible(False)
