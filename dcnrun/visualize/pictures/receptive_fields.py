"""Plot effective receptive fields on the image, several runs side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from dcnrun.data.pictures import short_name
from dcnrun.offsets.receptive_field import ReceptiveField
from dcnrun.visualize.pictures.panels import Picture, aspect, panels, show_image
from dcnrun.visualize.pictures.points import draw_centre
from dcnrun.visualize.query_points import QueryPoint

CIRCLES = {0.5: "--", 0.9: "-"}
"""Line styles of the circles, by the fraction of the field that they contain."""
_HEAT = "inferno"
_BRIGHTEST = 0.999  # the quantile of the shares that gets the brightest colour
_FADED = 0.6  # brightness of the image under the heat map
_BESIDE = 1.1  # inches, for the colour bar


@dataclass(frozen=True)
class MeasuredField:
    """A receptive field, and for each of CIRCLES the radius in image pixels that contains this fraction of it."""

    field: ReceptiveField
    radii: Mapping[float, float]

    @classmethod
    def of(cls, field: ReceptiveField) -> "MeasuredField":
        """Measure a field: a tenth of a second for an image of 512x512, so it is done once."""
        return cls(field, {fraction: field.radius(fraction) for fraction in CIRCLES})

    def __str__(self) -> str:
        if any(map(isnan, self.radii.values())):
            return "nothing in the image matters here"
        return ", ".join(f"{100 * fraction:.0f} % within {radius:.0f} px" for fraction, radius in self.radii.items())


def plot_receptive_fields(
    title: str, picture: Picture, query_points: Sequence[QueryPoint], fields: Mapping[str, Sequence[MeasuredField]]
) -> Figure:
    """Plot a row for each query point and a column for each run, with one colour scale; `fields` are in the same order."""
    drawn = panels(
        f"{title}\nEffective receptive field (gradient with respect to the image); dashed circle: 50 %, full: 90 %",
        [point.label for point in query_points],
        [short_name(run) for run in fields],
        aspect(picture),
        beside=_BESIDE,
    )
    shares = [measured.field.share.numpy() for of_run in fields.values() for measured in of_run]
    brightest = max(float(np.quantile(share, _BRIGHTEST)) for share in shares) or 1.0
    scale = PowerNorm(0.5, 0.0, brightest, clip=True)
    for column, of_run in enumerate(fields.values()):
        for row, measured in zip(drawn.axes, of_run, strict=True):
            draw_field(row[column], picture, measured, scale)
    bar = drawn.axes_in(drawn.size[0] - _BESIDE + 0.1, 0.3, 0.15, min(drawn.top - 0.4, 3.0))
    drawn.figure.colorbar(ScalarMappable(scale, _HEAT), cax=bar)
    marked = [share * brightest for share in (0.0, 0.1, 0.3, 0.6, 1.0)]
    bar.set_yticks(marked, [_three_digits(1e6 * share) for share in marked], fontsize=7)
    bar.set_ylabel("millionths of the\ngradient, per pixel", fontsize=7)
    return drawn.figure


def _three_digits(number: float) -> str:
    """Format with three digits, or as many as there are before the point: never as 2.17e+03."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def draw_field(axes: Axes, picture: Picture, measured: MeasuredField, scale: PowerNorm) -> None:
    """Draw the field as a heat map on the faded image, the circles, and their radii in words."""
    faded = picture.mean(2, keepdims=True) / 255 * _FADED
    strength = np.asarray(scale(measured.field.share.numpy()))[..., None]
    heat = colormaps[_HEAT](strength[..., 0])[..., :3]
    show_image(axes, (255 * (faded + strength * (heat - faded))).astype(np.uint8))
    y, x = measured.field.location
    for fraction, radius in measured.radii.items():
        if not isnan(radius):
            axes.add_patch(
                Circle((x, y), radius, fill=False, color="white", linewidth=1.1, linestyle=CIRCLES[fraction])
            )
    draw_centre(axes, y, x)
    axes.text(
        0.02,
        0.02,
        str(measured),
        transform=axes.transAxes,
        fontsize=7,
        color="white",
        bbox={"facecolor": "black", "alpha": 0.7, "edgecolor": "none", "pad": 1.5},
    )
