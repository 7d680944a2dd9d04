"""A comparison as a picture: every seed, the intervals, and what accuracy costs."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

from dcnrun.compare.results import Comparison, VariantResult
from dcnrun.config.inactive import traits_of
from dcnrun.plotting import GREY, LABEL_SIZE, new_figure, plain_text, remove_box

_SPEED = "inference_images_per_second"
_LINE_OF_LABEL = 24
_MOST_LINES = 4
_BESIDE = 1.04  # where labels begin, in widths of the axes
_ABOVE = 0.2  # seeds stand a little above their row, so that the mean hides none


def plot_comparison(comparison: Comparison) -> Figure:
    """Plot seeds, means and intervals on the left, and score against speed on the right, a label for each variant."""
    lines = max(_label(variant).count("\n") + 1 for variant in comparison.variants)
    height = 1.6 + (0.32 + 0.15 * lines) * max(len(comparison.variants), 3)
    figure = new_figure((12, height))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_seeds(left, comparison)
    _draw_cost(right, comparison)
    return figure


def _draw_seeds(axes: Axes, comparison: Comparison) -> None:
    reference = comparison.variants[0]
    if reference.mean is not None:
        axes.axvline(100 * reference.mean, color=GREY, linestyle="--", linewidth=1, zorder=0)
    for row, (variant, difference) in enumerate(zip(comparison.variants, comparison.differences, strict=True)):
        if variant.mean is None:
            continue
        colour, mean = traits_of(variant.settings).colour, 100 * variant.mean
        interval = difference.interval if difference is not None and difference.is_judged else None
        if reference.mean is not None and interval is not None:
            ends = [100 * (reference.mean + end) for end in (interval.low, interval.high)]
            axes.plot(ends, [row, row], color=colour, linewidth=2.5, alpha=0.45, solid_capstyle="butt")
        scores = [100 * run.score for run in variant.runs]
        axes.scatter(scores, [row - _ABOVE] * len(scores), s=22, facecolor="none", edgecolor=colour, linewidth=1.2)
        axes.scatter([mean], [row], s=60, marker=traits_of(variant.settings).marker, color=colour, zorder=3)
    axes.set_yticks(
        range(len(comparison.variants)), [_label(variant) for variant in comparison.variants], fontsize=LABEL_SIZE
    )
    axes.set_ylim(len(comparison.variants) - 0.4, -0.6)
    axes.set_xlabel(f"{comparison.metric} (%)")
    judged = any(difference is not None and difference.is_judged for difference in comparison.differences)
    axes.set_title(
        "Rings: seeds. Filled: their mean. Bar: the 95 % interval\n"
        "of the difference, from the first variant (dashed) on:\n"
        + ("significant where the bar does not touch the line" if judged else "one seed is not judged"),
        fontsize=LABEL_SIZE,
        loc="left",
    )
    axes.grid(axis="x", alpha=0.25)
    remove_box(axes)


def _draw_cost(axes: Axes, comparison: Comparison) -> None:
    placed = [
        (variant, speed, 100 * variant.mean)
        for variant in comparison.variants
        if (speed := variant.cost(_SPEED)) is not None and variant.mean is not None
    ]
    for variant, speed, score in placed:
        axes.scatter(
            [speed],
            [score],
            s=60,
            marker=traits_of(variant.settings).marker,
            color=traits_of(variant.settings).colour,
            zorder=3,
        )
    axes.set_xlabel("images a second in inference")
    axes.set_ylabel(f"{comparison.metric} (%)")
    axes.set_title("Accuracy against speed:\nup and to the right is better", fontsize=LABEL_SIZE, loc="left")
    axes.grid(alpha=0.25)
    axes.margins(0.12)
    remove_box(axes)
    _label_beside(axes, placed)


def _label_beside(axes: Axes, placed: Sequence[tuple[VariantResult, float, float]]) -> None:
    """Put labels into a column beside the axes, evenly spaced, so that neither they nor the lines to them cross."""
    if not placed:
        return
    axes.autoscale_view()
    points = axes.transLimits.transform([(speed, score) for _, speed, score in placed])
    spots = np.array([(_BESIDE, (index + 0.5) / len(placed)) for index in range(len(placed))])
    # Of all ways to join points and spots, the one with the shortest lines has no two that cross.
    lengths = np.hypot(*(points[:, None] - spots).transpose(2, 0, 1))
    for (variant, speed, score), spot in zip(placed, spots[linear_sum_assignment(lengths)[1]], strict=True):
        axes.annotate(
            _label(variant),
            xy=(speed, score),
            xytext=(spot[0], spot[1]),
            textcoords="axes fraction",
            color=traits_of(variant.settings).colour,
            va="center",
            fontsize=LABEL_SIZE,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkB": 4, "relpos": (0, 0.5)},
        )


def _label(variant: VariantResult) -> str:
    """Break the name into short lines, with $ escaped, which would begin a formula."""
    lines = textwrap.wrap(variant.name, _LINE_OF_LABEL, max_lines=_MOST_LINES, placeholder=" …")
    return plain_text("\n".join(lines))
