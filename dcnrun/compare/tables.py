"""A comparison as tables: for the terminal and as Markdown. Scores in percent, with one decimal."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dcnrun.compare.notes import footnotes, warnings
from dcnrun.compare.published import Published, published_figures
from dcnrun.compare.results import Comparison, Unfinished, VariantResult
from dcnrun.compare.statistics import Difference
from dcnrun.console import printable
from dcnrun.scores import in_percent
from dcnrun.tasks.registry import metric_title

COST_COLUMNS = ("parameters", "FLOPs", "images/s training", "images/s inference", "peak memory")
FIGURE_NAME = "compare.png"

_NONE = "-"


@dataclass(frozen=True)
class Row:
    """One variant, as text."""

    accuracy: tuple[str, ...]
    cost: tuple[str, ...]


def accuracy_columns(comparison: Comparison) -> tuple[str, ...]:
    """Return the headers of the accuracy columns, with one for published figures where any variant has one."""
    published = ("published",) if published_figures(comparison) else ()
    return ("variant", "seeds", f"{comparison.metric} (%)", *published, "difference (points)", "verdict")


def rows(comparison: Comparison) -> list[Row]:
    """Return the cells of each variant, under `accuracy_columns` and COST_COLUMNS."""
    figures = published_figures(comparison)
    return [
        Row(
            (
                variant.name,
                _seeds(variant, comparison.unfinished),
                score_text(variant),
                *([_percent(figures.get(variant.name))] if figures else []),
                "reference" if variant is comparison.variants[0] else difference_text(difference),
                difference.verdict if difference else _NONE,
            ),
            (
                _scaled(variant.cost("parameters")),
                _scaled(variant.cost("flops")),
                _rate(variant.cost("train_images_per_second")),
                _rate(variant.cost("inference_images_per_second")),
                _mebibytes(variant.cost("peak_memory_bytes")),
            ),
        )
        for variant, difference in zip(comparison.variants, comparison.differences, strict=True)
    ]


def terminal(comparison: Comparison) -> RenderableType:
    """Return two tables, accuracy and cost, which fit a terminal of 80 columns, and the notes."""
    lines = rows(comparison)
    accuracy = _table(accuracy_columns(comparison), [row.accuracy for row in lines])
    cost = _table(("variant", *COST_COLUMNS), [(row.accuracy[0], *row.cost) for row in lines])
    notes = [Text(printable(note), style="dim") for note in footnotes(comparison)]
    cautions = [Text(printable(f"Warning: {warning}"), style="yellow") for warning in warnings(comparison)]
    missing = [Text(printable(missing_text(run)), style="red" if run.failed else "") for run in comparison.unfinished]
    return Group(accuracy, cost, *notes, *cautions, *missing)


def markdown(comparison: Comparison) -> str:
    """Return one GitHub table, the figure and the notes."""
    columns = (*accuracy_columns(comparison), *COST_COLUMNS)
    aligned = ["---" if column in ("variant", "verdict") else "---:" for column in columns]
    lines = [
        table_line(columns),
        table_line(aligned),
        *(table_line([escape(cell) for cell in (*row.accuracy, *row.cost)]) for row in rows(comparison)),
        "",
        f"![{metric_title(comparison.metric)} of each variant and seed, and against speed]({FIGURE_NAME})",
        "",
        *(f"- {escape(note)}" for note in footnotes(comparison)),
        *(f"- **Warning:** {escape(warning)}" for warning in warnings(comparison)),
        *(f"- {escape(missing_text(run))}" for run in comparison.unfinished),
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", printable(" ".join(text.split())))


def score_text(variant: VariantResult) -> str:
    """Format mean and deviation in percent, such as `71.2 ± 0.5`."""
    if variant.mean is None:
        return _NONE
    return f"{in_percent(variant.mean)} ± {_NONE if variant.std is None else in_percent(variant.std)}"


def difference_text(difference: Difference | None) -> str:
    """Format a difference in points, such as `+1.2 [-0.1, +2.6]`; without an interval for one seed."""
    if difference is None:
        return _NONE
    interval = difference.interval if difference.is_judged else None
    text = in_percent(difference.mean, "+")
    return text if interval is None else f"{text} [{in_percent(interval.low, '+')}, {in_percent(interval.high, '+')}]"


def _seeds(variant: VariantResult, unfinished: Sequence[Unfinished]) -> str:
    done = len(variant.runs)
    missing = sum(run.name == variant.name for run in unfinished)
    return f"{done} of {done + missing}" if missing else str(done)


def _percent(figure: Published | None) -> str:
    return _NONE if figure is None else f"{figure.percent:.1f}"


def _scaled(number: float | None) -> str:
    """Format with a unit prefix and three or four digits, such as `11.2 M`."""
    if number is None:
        return _NONE
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{_digits(number / size)} {prefix}"
    return f"{number:.0f}"


def _rate(number: float | None) -> str:
    return _NONE if number is None else _digits(number)


def _mebibytes(number: float | None) -> str:
    return _NONE if number is None else f"{number / 2**20:.0f} MiB"


def _digits(number: float) -> str:
    """Format with three digits, more only before the point."""
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def missing_text(run: Unfinished) -> str:
    """Say which run is not in the comparison, and why."""
    seed = "" if run.seed is None else f", seed {run.seed}"
    return f"{'Failed' if run.failed else 'Not included'}: {run.name}{seed} ({run.folder}): {run.reason}"


def _table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, justify="left" if column in ("variant", "verdict") else "right")
    for row in cells:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def table_line(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table; its cells are escaped already."""
    return f"| {' | '.join(cells)} |"
