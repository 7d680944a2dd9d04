"""`dcnrun compare --vary KEY=VALUE,VALUE`: the same comparison at each value of a setting, and how the variants' differences move with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from dcnrun.compare.grid import SEED, Grid, build_grid
from dcnrun.compare.page import PAGE_NAME
from dcnrun.compare.tables import escape, table_line
from dcnrun.compare.variants import digest, slugs
from dcnrun.config.inactive import traits_of
from dcnrun.config.overrides import split_choices
from dcnrun.console import console, printable
from dcnrun.errors import UsageError
from dcnrun.plotting import LABEL_SIZE, new_figure, plain_text, remove_box, save_png
from dcnrun.runs import write_json, write_text
from dcnrun.scores import in_percent

FIGURE_NAME = "vary.png"
_DASHES = ("-", "--", ":", "-.")
_ASIDE = 0.012  # of the axis, between the intervals of neighbouring variants

Report: TypeAlias = Mapping[str, Any]
"""What is in the compare.json of a comparison."""


@dataclass(frozen=True)
class Varied:
    """Comparisons that differ in one setting: what its values are, and the report of each that has been made."""

    key: str
    reports: Mapping[str, Report]
    """By value, in the order in which they were given."""

    @property
    def first(self) -> Report:
        """The report that says what is the same in all."""
        return next(iter(self.reports.values()))

    @property
    def metric(self) -> str:
        """What all go by."""
        return str(self.first["metric"])

    @property
    def variants(self) -> list[str]:
        """Their names; the first is the reference."""
        return [variant["name"] for variant in self.first["variants"]]

    def of(self, variant: str) -> dict[str, Report]:
        """Return what each report says of a variant, by value."""
        return {
            value: row for value, report in self.reports.items() for row in report["variants"] if row["name"] == variant
        }


def run_varied(
    overrides: Sequence[str],
    vary: str,
    out: Path | None,
    config_dir: Path | None,
    dry_run: bool,
    run: Callable[[Sequence[str], Path], dict[str, Any]],
) -> dict[str, Any]:
    """Run a comparison at each value of a setting, each in a folder of its own; print, write and return what they say together.

    The files are written after each comparison, and the same command goes on where it was stopped.

    Args:
        overrides: those of the comparison.
        vary: the setting and its values, such as `data.warp=0,0.3,0.6`.
        out: the folder of all; by default one of `runs_dir` that is named after the comparisons.
        config_dir: a folder of further choices.
        dry_run: whether nothing is trained, so that there is nothing to write.
        run: runs a comparison by its overrides in a folder and returns its report, as `run_grid` does.

    Raises:
        UsageError: the setting can't be varied; ConfigError: any of the comparisons can't be. Both before the first run.
    """
    grids = _grids(overrides, vary, config_dir)
    key, _ = split_choices(vary)
    first = next(iter(grids.values()))
    runs_dir = Path(first.variants[0].config.runs_dir)
    folder = out or runs_dir / f"vary-{digest([grid.digest for grid in grids.values()])}"
    reports: dict[str, dict[str, Any]] = {}
    for value, slug in zip(grids, slugs([f"{key}={value}" for value in grids]), strict=True):
        console.print(f"{key}={value}, {len(reports) + 1} of {len(grids)}", markup=False, style="bold")
        reports[value] = run([*overrides, f"{key}={value}"], folder / slug)
        if not dry_run:
            _write(Varied(key, reports), folder)
    if dry_run:
        return {"vary": key, "folder": str(folder), "values": reports}
    varied = Varied(key, reports)
    console.print(table(varied))
    console.print(f"Written: {folder}/vary.md, vary.json, {FIGURE_NAME}", markup=False, soft_wrap=True)
    return as_dict(varied, folder)


def _grids(overrides: Sequence[str], vary: str, config_dir: Path | None) -> dict[str, Grid]:
    """Return the comparison at each value; UsageError or ConfigError for what keeps any of them from running."""
    key, values = split_choices(vary)
    if len(set(values)) < 2:
        raise UsageError(f"--vary {vary}: give a setting two values or more, such as data.warp=0,0.3,0.6.")
    if key == SEED:
        raise UsageError(f"--vary {vary}: seeds are runs of one variant: give {vary} without --vary.")
    if key in (split_choices(override)[0] for override in overrides):
        raise UsageError(f"--vary {vary}: {key} is among the overrides too: leave it out there.")
    grids = {value: build_grid([*overrides, f"{key}={value}"], config_dir) for value in dict.fromkeys(values)}
    names = {value: [variant.name for variant in grid.variants] for value, grid in grids.items()}
    first = values[0]
    for value, own in names.items():
        if own != names[first]:
            raise UsageError(
                f"--vary {vary}: with {key}={first} the variants are {', '.join(names[first])}, with {key}={value} {', '.join(own)}. "
                "Vary what is the same for all variants, or give it as an override without --vary."
            )
    return grids


def _write(varied: Varied, folder: Path) -> None:
    write_json(folder / "vary.json", as_dict(varied, folder))
    write_text(folder / "vary.md", markdown(varied))
    save_png(plot(varied), folder / FIGURE_NAME)


def as_dict(varied: Varied, folder: Path) -> dict[str, Any]:
    """Return scores and differences by variant and value, and where each comparison is. Scores are from 0 to 1."""
    return {
        "vary": varied.key,
        "folder": str(folder),
        "metric": varied.metric,
        "level": varied.first["level"],
        "reference": varied.variants[0],
        "comparisons": {value: report["folder"] for value, report in varied.reports.items()},
        "variants": [
            {
                "name": name,
                "values": {
                    value: {key: row[key] for key in ("seeds", varied.metric, "difference")}
                    for value, row in varied.of(name).items()
                },
            }
            for name in varied.variants
        ],
    }


def _cells(varied: Varied) -> list[list[str]]:
    """Return a row for each variant: its name and, at each value, its score and what it gains."""
    return [
        [name, *(_cell(varied, varied.of(name).get(value)) for value in varied.reports)] for name in varied.variants
    ]


def _cell(varied: Varied, row: Report | None) -> str:
    """Return the mean score in percent, and the difference to the reference in points with its interval."""
    if row is None or row[varied.metric]["mean"] is None:
        return "-"
    score, difference = in_percent(row[varied.metric]["mean"]), row["difference"]
    if difference is None:
        return score
    text = f"{score} ({in_percent(difference['mean'], '+')}"
    if interval := _interval(difference):
        text += " [" + ", ".join(in_percent(end, "+") for end in interval) + "]"
    return f"{text})"


def _interval(difference: Report) -> list[float] | None:
    """Return the interval of a difference; None for one seed, which is not judged."""
    return difference["interval"] if len(difference["per_seed"]) > 1 else None


def _columns(varied: Varied) -> list[str]:
    return [f"{varied.metric} (%)", *(f"{varied.key}={value}" for value in varied.reports)]


def table(varied: Varied) -> Table:
    """Return the table for the terminal."""
    shown = Table(caption=Text(printable(_note(varied))))
    for column in _columns(varied):
        shown.add_column(Text(printable(column)))
    for cells in _cells(varied):
        shown.add_row(*(Text(printable(cell)) for cell in cells))
    return shown


def markdown(varied: Varied) -> str:
    """Return the table, the figure and where the comparisons are."""
    columns = _columns(varied)
    pages = [
        f"- [{escape(f'{varied.key}={v}')}]({Path(r['folder']).name}/{PAGE_NAME})" for v, r in varied.reports.items()
    ]
    return "\n".join(
        [
            table_line([escape(column) for column in columns]),
            table_line(["---", *["---:" for _ in varied.reports]]),
            *(table_line([escape(cell) for cell in cells]) for cells in _cells(varied)),
            "",
            f"![Scores and differences against {escape(varied.key)}]({FIGURE_NAME})",
            "",
            escape(_note(varied)),
            "",
            *pages,
            "",
        ]
    )


def _note(varied: Varied) -> str:
    return (
        f"In brackets the difference to {varied.variants[0]} in points with its {100 * varied.first['level']:g} % interval, as in each comparison; "
        "each interval stands for itself, and none says that differences at two values are unlike."
    )


def plot(varied: Varied) -> Figure:
    """Plot scores on the left, a ring for each seed, and differences to the reference on the right, against the setting."""
    figure = new_figure((11, 4.2))
    left, right = figure.subplots(1, 2)
    numbers = _as_numbers(list(varied.reports))
    places = dict(zip(varied.reports, numbers or range(len(varied.reports)), strict=True))
    kinds: list[str] = []
    span = max(places.values()) - min(places.values()) or 1
    for number, name in enumerate(varied.variants):
        rows = {value: row for value, row in varied.of(name).items() if row[varied.metric]["mean"] is not None}
        if not rows:
            continue
        settings = next(iter(rows.values()))["settings"]
        kinds.append(settings["conv.kind"])
        style: dict[str, Any] = {
            "color": traits_of(settings).colour,
            "marker": traits_of(settings).marker,
            "linestyle": _DASHES[(kinds.count(kinds[-1]) - 1) % len(_DASHES)],
        }
        left.plot([places[v] for v in rows], [100 * r[varied.metric]["mean"] for r in rows.values()], **style)
        for value, row in rows.items():
            scores = [100 * run[varied.metric] for run in row["runs"]]
            left.scatter([places[value]] * len(scores), scores, s=16, facecolor="none", edgecolor=style["color"])
        aside = (number - (len(varied.variants) - 1) / 2) * _ASIDE * span  # so that no interval hides another
        _draw_differences(right, plain_text(name), {places[v] + aside: r["difference"] for v, r in rows.items()}, style)
    left.set_ylabel(f"{varied.metric} (%)")
    left.set_title("Rings: seeds. Filled: their mean", fontsize=LABEL_SIZE, loc="left")
    right.set_ylabel(f"difference to {plain_text(varied.variants[0])} (points)")
    right.set_title("Bars: 95 % intervals; significant where one does not touch 0", fontsize=LABEL_SIZE, loc="left")
    for axes in (left, right):
        axes.set_xlabel(plain_text(varied.key))
        axes.set_xticks(list(places.values()), [plain_text(value) for value in places], fontsize=LABEL_SIZE)
        axes.grid(axis="y", alpha=0.25)
        remove_box(axes)
    if right.get_legend_handles_labels()[0]:
        right.legend(frameon=False, fontsize=LABEL_SIZE)
    return figure


def _draw_differences(
    axes: Axes, name: str, differences: Mapping[float, Report | None], style: Mapping[str, Any]
) -> None:
    """Draw the differences of a variant with their intervals; of the reference, which has none, the line at 0."""
    drawn = {place: difference for place, difference in differences.items() if difference is not None}
    if not drawn:
        axes.axhline(0, color=style["color"], linestyle="--", linewidth=1, label=name)
        return
    axes.plot(list(drawn), [100 * difference["mean"] for difference in drawn.values()], **style, label=name)
    for place, difference in drawn.items():
        if interval := _interval(difference):
            ends = [100 * end for end in interval]
            axes.plot([place, place], ends, color=style["color"], linewidth=2, alpha=0.45, solid_capstyle="butt")


def _as_numbers(values: Sequence[str]) -> list[float] | None:
    """Return the values as places on an axis; None where any is no number, or two are one."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if len(set(numbers)) == len(numbers) else None
