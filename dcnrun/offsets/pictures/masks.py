"""The modulation of each layer, where its filters stand in the image."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dcnrun.offsets.layers import Layer
from dcnrun.offsets.pictures.flow import Floats
from dcnrun.offsets.pictures.panels import Picture, aspect, chosen_taps, panels, short_layer, show_map

_BESIDE = 2.9  # inches, for the image and the scale


def figure_of(title: str, picture: Picture, layers: Sequence[Layer]) -> Figure | None:
    """A row for each modulated layer: the mean over its taps, the corners and the middle. None where no layer has masks."""
    fields = {layer.name: _fields(layer, layer.mask.numpy()) for layer in layers if layer.mask is not None}
    if not fields:
        return None
    modulated = [layer for layer in layers if layer.name in fields]
    # 2 x sigmoid or sigmoid, by `conv.mask_start`: the scale is that of what the masks may be
    most = 2.0 if max(field.max() for of_layer in fields.values() for field in of_layer.values()) > 1 else 1.0
    drawn = panels(
        f"{title}\nMasks, mean over groups: 0 lets nothing through, 1 all",
        [short_layer(name) for name in fields],
        max(map(list, fields.values()), key=len),
        aspect(picture),
        beside=_BESIDE,
    )
    for row, layer in zip(drawn.axes, modulated, strict=True):
        of_layer = fields[layer.name]
        for axes, field in zip(row, of_layer.values(), strict=False):
            image_size = picture.shape[0], picture.shape[1]
            shown = show_map(axes, field, layer.output_grid, image_size, cmap="cividis", vmin=0, vmax=most)
        for axes in row[len(of_layer) :]:
            axes.axis("off")
    width = drawn.size[0]
    drawn.thumbnail(picture, width - _BESIDE + 0.1, drawn.top, _BESIDE - 0.9)
    bar_height = min(drawn.top - 0.3, 3.0)
    scale = drawn.axes_in(width - 0.6, drawn.top - bar_height, 0.15, bar_height)
    drawn.figure.colorbar(shown, cax=scale).ax.tick_params(labelsize=7)
    return drawn.figure


def _fields(layer: Layer, mask: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> dict[str, Floats]:
    """Masks (Ho, Wo) by what they are of."""
    by_tap = mask.mean(0, dtype=np.float64)
    taps = {name: by_tap[tap] for name, tap in chosen_taps(layer.kernel_size).items()}
    return {f"mean of {layer.taps} taps": by_tap.mean(0)} | taps
