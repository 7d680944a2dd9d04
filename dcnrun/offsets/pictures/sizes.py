"""Effective dilation of each object's filters against the object's size."""

from collections.abc import Mapping
from math import isnan

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dcnrun.data.pictures import short_name
from dcnrun.offsets.measure import LayerMeasures, Measures
from dcnrun.offsets.pictures.panels import COLOURS, short_layer

_MOST_LAYERS = 4


def figure_of(measures: Mapping[str, Measures]) -> Figure:
    """A panel for each of the last layers, a dot for each object, a colour for each run."""
    names = list(dict.fromkeys(layer.name for of_run in measures.values() for layer in of_run.layers))[-_MOST_LAYERS:]
    figure = Figure(figsize=(max(3.3 * len(names), 5.5), 3.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        for (run, of_run), colour in zip(measures.items(), COLOURS * len(measures), strict=False):
            for layer in of_run.layers:
                if layer.name == name:
                    draw_layer(axes, layer, colour, f"{short_name(run)}: " if len(measures) > 1 else "")
        axes.set_title(short_layer(name), fontsize=8, parse_math=False)
        axes.legend(fontsize=7, loc="upper left", framealpha=0.8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(0.1, 0.3)
    figure.supxlabel("square root of the object's area, pixels of the image", fontsize=8)
    figure.supylabel("effective dilation, pixels of the map", fontsize=8)
    figure.suptitle(
        "Objects: size and mean effective dilation of their filters; dotted: without offsets.\n"
        "Spearman's rank correlation and its 95 % interval over images",
        fontsize=9,
    )
    return figure


def draw_layer(axes: Axes, layer: LayerMeasures, colour: str, label: str) -> None:
    """The objects of one run."""
    objects, found = layer.per_object, layer.correlation
    value = "does not vary" if isnan(found.value) else f"{found.value:.2f}"
    interval = "" if isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]"
    axes.scatter(
        np.sqrt(objects.area),
        objects.dilation,
        s=9,
        color=colour,
        alpha=0.55,
        linewidths=0,
        label=f"{label}{value}{interval}".replace("$", r"\$"),  # a $ would begin a formula
    )
    axes.axhline(layer.plain, color=colour, linestyle=":", linewidth=1)
