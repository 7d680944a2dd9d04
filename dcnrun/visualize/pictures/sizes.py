"""Plot the effective dilation of each object's filters against the object's size."""

from collections.abc import Mapping
from math import isnan

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dcnrun.data.pictures import short_name
from dcnrun.plotting import COLOURS, new_figure, plain_text, remove_box
from dcnrun.visualize.measures import LayerMeasures, Measures
from dcnrun.visualize.pictures.panels import PICTURE_DPI, short_layer

_MOST_LAYERS = 4
_LEGEND_LINE = 0.16  # inches


def plot_sizes(measures: Mapping[str, Measures]) -> Figure:
    """Plot a panel for each of the last layers, a dot for each object, a colour for each run."""
    names = list(dict.fromkeys(layer.name for of_run in measures.values() for layer in of_run.layers))[-_MOST_LAYERS:]
    height = 3.8 + _LEGEND_LINE * len(measures)
    figure = new_figure((max(3.3 * len(names), 5.5), height), PICTURE_DPI)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        for (run, of_run), colour in zip(measures.items(), COLOURS * len(measures), strict=False):
            for layer in of_run.layers:
                if layer.name == name:
                    draw_layer(axes, layer, colour, f"{short_name(run)}: " if len(measures) > 1 else "")
        # above the panel: inside it would hide some dots
        legend = axes.legend(
            title=short_layer(name),
            title_fontsize=8,
            fontsize=7,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            frameon=False,
        )
        legend.get_title().set_parse_math(False)
        axes.tick_params(labelsize=7)
        remove_box(axes)
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # dots that are alike have no margin of their own
    figure.supxlabel("square root of the object's area, pixels of the image", fontsize=8)
    figure.supylabel("effective dilation, pixels of the feature map", fontsize=8)
    figure.suptitle(
        "Objects: size and mean effective dilation of their filters; dotted: without offsets.\n"
        "Spearman's rank correlation and its 95 % interval over images",
        fontsize=9,
    )
    return figure


def draw_layer(axes: Axes, layer: LayerMeasures, colour: str, label: str) -> None:
    """Draw the objects of one run."""
    objects, found = layer.per_object, layer.correlation
    value = "does not vary" if isnan(found.value) else f"{found.value:.2f}"
    interval = "" if found.interval is None else f" [{found.interval.low:.2f}, {found.interval.high:.2f}]"
    axes.scatter(
        np.sqrt(objects.area),
        objects.dilation,
        s=9,
        color=colour,
        alpha=0.55,
        linewidths=0,
        label=plain_text(f"{label}{value}{interval}"),
    )
    axes.axhline(layer.plain, color=colour, linestyle=":", linewidth=1)
