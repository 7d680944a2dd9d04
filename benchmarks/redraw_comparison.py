"""Draws the figure of a comparison anew from its compare.json, where the runs are no longer at hand.

python benchmarks/redraw_comparison.py benchmarks/results/shapes/compare.json docs/compare-shapes.png
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dcnrun.compare.figure import plot_comparison
from dcnrun.plotting import save_png


def comparison_of(written: dict[str, Any]) -> Any:
    """What the figure asks of a comparison."""
    metric = written["metric"]
    variants = [
        SimpleNamespace(
            name=variant["name"],
            settings=variant["settings"],
            mean=variant[metric]["mean"],
            runs=[SimpleNamespace(score=run[metric]) for run in variant["runs"]],
            cost=variant.get,
        )
        for variant in written["variants"]
    ]
    differences = [_difference(variant["difference"]) for variant in written["variants"]]
    return SimpleNamespace(metric=metric, variants=variants, differences=differences)


def _difference(written: dict[str, Any] | None) -> Any:
    if written is None or written["interval"] is None:
        return None
    low, high = written["interval"]
    return SimpleNamespace(is_judged=written["verdict"] is not None, interval=SimpleNamespace(low=low, high=high))


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    save_png(plot_comparison(comparison_of(json.loads(source.read_text()))), target)
