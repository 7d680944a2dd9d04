"""Importance of parameters, as bars."""

from matplotlib.axes import Axes

from dcnrun.sweep.report.importance import METHOD, Importance
from dcnrun.sweep.report.style import TRIAL, tidy, wrapped

_WIDTH = 30


def draw_importance(axes: Axes, found: Importance) -> None:
    """One bar for each parameter, the most important first."""
    rows = range(len(found.shares))
    bars = axes.barh(rows, list(found.shares.values()), height=0.6, color=TRIAL)
    axes.bar_label(bars, [f"{100 * share:.0f} %" for share in found.shares.values()], padding=4, fontsize=9)
    axes.set_yticks(rows, [wrapped(name, _WIDTH) for name in found.shares], fontsize=9)
    axes.set_ylim(len(found.shares) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max(found.shares.values()))
    axes.set_xticks([])
    tidy(axes, f"Importance: {METHOD}")
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
