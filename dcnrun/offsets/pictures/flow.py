"""Offsets as a field of flow: the hue is their direction, the colour's strength their length."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from dcnrun.offsets.layers import Layer
from dcnrun.offsets.pictures.panels import Picture, aspect, chosen_taps, panels, short_layer, show_map

Floats = npt.NDArray[np.float64]

_COVERED = 0.99  # share of the lengths that the colours tell apart; longer ones are drawn as the longest of these
_BESIDE = 2.4  # inches, for the image and the wheel
_UNKNOWN = 0.5  # grey, where an offset is no number


def figure_of(title: str, picture: Picture, layers: Sequence[Layer]) -> Figure | None:
    """A row for each deformable layer: the mean over its taps, the corners and the middle; one scale for all. None without."""
    layers = [layer for layer in layers if layer.deformable]
    if not layers:
        return None
    fields = [_fields(layer) for layer in layers]
    longest = full_colour([field for row in fields for field in row.values()])
    drawn = panels(
        f"{title}\nOffsets in pixels of the image, mean over groups. Full colour: {longest:.3g} px",
        [short_layer(layer.name) for layer in layers],
        max(map(list, fields), key=len),
        aspect(picture),
        beside=_BESIDE,
    )
    for row, layer, of_layer in zip(drawn.axes, layers, fields, strict=True):
        for axes, field in zip(row, of_layer.values(), strict=False):
            show_map(axes, flow_colours(field, longest), layer.output_grid, (picture.shape[0], picture.shape[1]))
        for axes in row[len(of_layer) :]:
            axes.axis("off")
    side = _BESIDE - 0.3
    left = drawn.size[0] - side - 0.1
    draw_wheel(drawn.axes_in(left, drawn.top - side, side, side), longest)
    drawn.thumbnail(picture, left, drawn.top - side - 0.1, side)
    return drawn.figure


def _fields(layer: Layer) -> dict[str, Floats]:
    """Offsets (2, Ho, Wo) in pixels of the image, y then x, by what they are of."""
    step = np.array(layer.input_grid.step)[:, None, None]
    by_tap = layer.offset.numpy().mean(0, dtype=np.float64) * step  # (taps, 2, Ho, Wo)
    taps = {name: by_tap[tap] for name, tap in chosen_taps(layer.kernel_size).items()}
    return {f"mean of {layer.taps} taps": by_tap.mean(0)} | taps


def full_colour(fields: Sequence[Floats]) -> float:
    """The length that is drawn in full colour, the same for all fields; 1 where nothing moves."""
    lengths = np.concatenate([np.hypot(*field).ravel() for field in fields])
    lengths = lengths[np.isfinite(lengths)]
    return float(np.quantile(lengths, _COVERED)) or 1.0 if len(lengths) else 1.0


def flow_colours(field: Floats, longest: float) -> Floats:
    """Offsets (2, H, W), y then x, as colours (H, W, 3): white does not move, red moves to the right, and on against the clock."""
    down, right = field
    known = np.isfinite(down) & np.isfinite(right)
    down, right = np.where(known, down, 0.0), np.where(known, right, 0.0)
    hue = np.arctan2(-down, right) / (2 * np.pi) % 1.0
    saturation = np.minimum(np.hypot(down, right) / longest, 1.0)
    colours = hsv_to_rgb(np.stack([hue, saturation, np.ones_like(hue)], -1))
    return np.where(known[..., None], colours, _UNKNOWN)


def draw_wheel(axes: Axes, longest: float) -> None:
    """What the colours mean: the disc of all offsets up to `longest`."""
    way = np.linspace(-1, 1, 161)
    field = np.stack(np.meshgrid(way, way, indexing="ij")) * longest
    inside = np.hypot(*field)[..., None] <= longest
    axes.imshow(np.where(inside, flow_colours(field, longest), 1.0), extent=(-1, 1, 1, -1))
    axes.set(xticks=[], yticks=[], xlim=(-1.35, 1.35), ylim=(1.35, -1.35))
    axes.set_title(f"rim: {longest:.3g} px of the image or more", fontsize=8)
    for word, y, x in (("up", -1.15, 0.0), ("down", 1.15, 0.0), ("left", 0.0, -1.17), ("right", 0.0, 1.17)):
        axes.text(x, y, word, ha="center", va="center", fontsize=7, rotation=0 if x == 0 else 90)
    axes.spines[:].set_visible(False)
