"""Write the measures of a run as JSON and CSV, and show them as tables in the terminal."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dcnrun.offsets.objects import SizeClass
from dcnrun.offsets.statistics.correlation import FEWEST_IMAGES
from dcnrun.offsets.statistics.effective_dilation import Spread
from dcnrun.offsets.statistics.health import HARDLY_MOVES, LayerHealth
from dcnrun.runs import write_json, write_text
from dcnrun.visualize.measures import History, LayerMeasures, Measures

_NONE = "-"


def as_dict(measures: Measures) -> dict[str, Any]:
    """Return all numbers as plain values; unknown ones are NaN or None."""
    return {
        "run": measures.run,
        "checkpoint": measures.checkpoint,
        "step": measures.step,
        "conv": measures.conv,
        "images": len(measures.images),
        "objects": measures.objects,
        "objects_from": measures.objects_from,
        "area_thresholds": asdict(measures.thresholds),
        "layers": [_layer_as_dict(layer) for layer in measures.layers],
    }


def _layer_as_dict(layer: LayerMeasures) -> dict[str, Any]:
    found = layer.correlation
    low, high = (None, None) if found.interval is None else (found.interval.low, found.interval.high)
    return {
        "name": layer.name,
        "kernel_size": list(layer.kernel_size),
        "dilation": list(layer.dilation),
        "plain_dilation": layer.plain,
        "effective_dilation": {size.value: asdict(spread) for size, spread in layer.spreads.items()},
        "size_correlation": {
            "value": found.value,
            "low": low,
            "high": high,
            "objects": found.objects,
            "images": found.images,
        },
        "health": layer.health and asdict(layer.health, dict_factory=_with_old_names),
        "history": layer.history and asdict(layer.history),
        "warnings": layer.warnings,
    }


def _with_old_names(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the numbers of a layer's health under the names that the file's readers know."""
    names = {"lost_points": "gone_taps", "num_points": "taps", "widest_point": "widest_tap"}
    return {names.get(key, key): value for key, value in items}


def write_measures(measures: Measures, folder: Path) -> list[Path]:
    """Write `offsets.json` and `offsets.csv` (layer, size, mean, std, count) into a folder; return their paths."""
    paths = folder / "offsets.json", folder / "offsets.csv"
    write_json(paths[0], as_dict(measures))
    write_text(paths[1], _csv(measures))
    return list(paths)


def _csv(measures: Measures) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "size", "mean", "std", "count"])
    for layer in measures.layers:
        for size, spread in layer.spreads.items():
            numbers = ("" if isnan(value) else value for value in (spread.mean, spread.std))
            writer.writerow([layer.name, size.value, *numbers, spread.count])
    return text.getvalue()


def tables(measures: Measures) -> RenderableType:
    """Return all numbers as tables of at most 80 columns, and the warnings; the last layer comes first, as in DCNv1's table 2."""
    layers = measures.layers[::-1]
    deformable = [(layer, layer.health) for layer in layers if layer.health is not None]
    logged = [(layer, layer.history) for layer in layers if layer.history is not None]
    return Group(
        _dilation_table(measures, layers),
        _correlation_table(layers),
        *([_health_table(deformable)] if deformable else []),
        *([_history_table(logged)] if logged else []),
        *(Text(f"Warning: {line}", style="yellow") for layer in measures.layers for line in layer.warnings),
    )


def _dilation_table(measures: Measures, layers: Sequence[LayerMeasures]) -> Table:
    table = _table(
        ("plain", *SizeClass),
        title=f"Effective dilation: {measures.conv}, {len(measures.images)} images",
        caption=f"Mean±std over filters in pixels of the feature map, by the object that contains a filter's centre: "
        f"{measures.thresholds}. {measures.objects} objects, by {measures.objects_from}. {measures.run}, "
        f"{measures.checkpoint} checkpoint, step {measures.step}.",
    )
    for layer in layers:
        table.add_row(_short(layer), f"{layer.plain:g}", *(_spread(layer.spreads[size]) for size in SizeClass))
    return table


def _correlation_table(layers: Sequence[LayerMeasures]) -> Table:
    table = _table(
        ("Spearman", "95 % interval", "objects", "images"),
        title="Size of objects and effective dilation",
        caption="Rank correlation of objects' area and the mean over their filters; the interval is over images, "
        f"from {FEWEST_IMAGES} on. Random offsets correlate with size too: see docs/offsets.md.",
    )
    for layer in layers:
        found = layer.correlation
        interval = _NONE if found.interval is None else f"{found.interval.low:.2f} to {found.interval.high:.2f}"
        value = _NONE if isnan(found.value) else f"{found.value:.2f}"
        table.add_row(_short(layer), value, interval, str(found.objects), str(found.images))
    return table


def _health_table(layers: Sequence[tuple[LayerMeasures, LayerHealth]]) -> Table:
    table = _table(
        ("median", "95 %", "most", f"< {HARDLY_MOVES} px", "lost", "groups", "mask"),
        title="Offsets",
        caption=f"median, 95 %, most: length in pixels of the feature map; < {HARDLY_MOVES} px: share of sampling points that hardly move; "
        "lost: share of the plain grid's sampling points moved off the feature map; groups: how alike, 1 is the same; mask: median.",
    )
    for layer, health in layers:
        table.add_row(
            _short(layer),
            f"{health.offset_quantiles[0.5]:.2f}",
            f"{health.offset_quantiles[0.95]:.2f}",
            f"{health.offset_max:.2f}",
            f"{health.still:.0%}",
            f"{health.lost:.1%}",
            _NONE if health.group_similarity is None else f"{health.group_similarity:.2f}",
            _NONE if health.mask is None else f"{health.mask.quantiles[0.5]:.2f}",
        )
    return table


def _history_table(layers: Sequence[tuple[LayerMeasures, History]]) -> Table:
    table = _table(
        ("steps", "|offset|", "outside"),
        title="Offsets in training",
        caption="At the first and the last logged step. |offset|: mean of the components' sizes in pixels of the feature map; "
        "outside: share of sampling points that read only padding, the plain grid's included.",
    )
    for layer, history in layers:
        table.add_row(
            _short(layer),
            f"{history.step[0]} to {history.step[-1]}",
            f"{history.offset_abs[0]:.2g} to {history.offset_abs[-1]:.2g}",
            f"{history.offset_outside[0]:.1%} to {history.offset_outside[-1]:.1%}",
        )
    return table


def _table(columns: Sequence[str], title: str, caption: str) -> Table:
    table = Table(title=escape(title), caption=escape(caption), caption_justify="left")
    table.add_column("layer", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _short(layer: LayerMeasures) -> str:
    return escape(layer.name.removeprefix("backbone."))


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.2f}±{spread.std:.2f}" if spread.count else _NONE
