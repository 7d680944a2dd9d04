"""`dcnrun compare --vary KEY=VALUE,VALUE`: the same comparison at each value of a setting, and how the variants' differences move with it.

Several settings are varied one at a time, the others as in the overrides; one figure shows them side by side.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from dcnrun.compare.grid import SEED, Grid, build_grid
from dcnrun.compare.page import PAGE_NAME
from dcnrun.compare.report import difference_as_dict
from dcnrun.compare.results import Unfinished, read_finished
from dcnrun.compare.statistics import Scores, paired_difference
from dcnrun.compare.tables import escape, missing_text, table_line
from dcnrun.compare.variants import digest, slugs
from dcnrun.config.inactive import traits_of
from dcnrun.config.overrides import split_choices
from dcnrun.config.schema import ConvKind
from dcnrun.console import console, printable
from dcnrun.errors import RunError, UsageError
from dcnrun.plotting import GREY, LABEL_SIZE, new_figure, plain_text, remove_box, save_png
from dcnrun.runs import json_ready, write_json, write_text
from dcnrun.scores import in_percent

FIGURE_NAME = "vary.png"
_DASHES = ("-", "--", ":", "-.")
_ASIDE = 0.012  # of the axis, between the intervals of neighbouring variants
_COLUMN, _ROW = 4.2, 2.9  # inches

Report: TypeAlias = Mapping[str, Any]
"""What is in the compare.json of a comparison."""

DIFFERENCE, OVER_DILATED = "difference", "over_dilated"
"""What a variant gains: over the reference, and over the better of the dilated variants, where there are any."""


@dataclass(frozen=True)
class Varied:
    """Comparisons that differ in one setting: what its values are, and the report of each that has been made."""

    key: str
    reports: Mapping[str, Report]
    """By value, in the order in which they were given; with `OVER_DILATED` of each variant."""

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

    def missing(self) -> list[str]:
        """Say which runs are in no comparison, and why."""
        return [
            f"{self.key}={value}: {missing_text(_unfinished(run, failed=part == 'failed'))}"
            for value, report in self.reports.items()
            for part in ("failed", "not_included")
            for run in report[part]
        ]

    def gaining(self) -> list[str]:
        """Return the variants that are compared with the dilated ones."""
        return [name for name in self.variants if any(row[OVER_DILATED] for row in self.of(name).values())]


def run_varied(
    overrides: Sequence[str],
    vary: Sequence[str],
    out: Path | None,
    config_dir: Path | None,
    dry_run: bool,
    run: Callable[[Sequence[str], Path], dict[str, Any]],
) -> dict[str, Any]:
    """Run a comparison at each value of each setting, each in a folder of its own; print, write and return what they say together.

    The files are written after each comparison, and the same command goes on where it was stopped.

    Args:
        overrides: those of the comparison.
        vary: settings and their values, such as `data.warp=0,0.3,0.6`.
        out: the folder of all; by default one of `runs_dir` that is named after the comparisons.
        config_dir: a folder of further choices.
        dry_run: whether nothing is trained, so that there is nothing to write.
        run: runs a comparison by its overrides in a folder and returns its report, as `run_grid` does.

    Raises:
        UsageError: a setting can't be varied; ConfigError: any of the comparisons can't be. Both before the first run.
        RunError: a comparison has no completed run; after all others.
    """
    grids = dict(_grids(overrides, each, config_dir) for each in vary)
    if len(grids) < len(vary):
        raise UsageError(f"--vary {' --vary '.join(vary)}: give all values of a setting at once.")
    places = [(key, value) for key, own in grids.items() for value in own]
    all_grids = [grids[key][value] for key, value in places]
    runs_dir = Path(all_grids[0].variants[0].config.runs_dir)
    folder = out or runs_dir / f"vary-{digest([grid.digest for grid in all_grids])}"
    reports: dict[str, dict[str, dict[str, Any]]] = {}
    failures: list[str] = []
    for number, ((key, value), slug) in enumerate(
        zip(places, slugs([f"{key}={value}" for key, value in places]), strict=True), start=1
    ):
        console.print(f"{key}={value}, {number} of {len(places)}", markup=False, style="bold")
        try:
            report = run([*overrides, f"{key}={value}"], folder / slug)
        except RunError as error:  # the others may well run: a larger network has no room, say
            failures.append(f"{key}={value}: {error}")
            console.print(failures[-1], markup=False, soft_wrap=True)
            continue
        reports.setdefault(key, {})[value] = report if dry_run else with_gains_over_dilated(report)
        if not dry_run:
            _write([Varied(each, own) for each, own in reports.items()], folder)
    if dry_run:
        return {"folder": str(folder), "varied": [{"vary": key, "values": own} for key, own in reports.items()]}
    varied = [Varied(key, own) for key, own in reports.items()]
    for each in varied:
        console.print(table(each))
    if varied:
        console.print(f"Written: {folder}/vary.md, vary.json, {FIGURE_NAME}", markup=False, soft_wrap=True)
    if failures:
        raise RunError("\n".join(failures))
    return as_dict(varied, folder)


def _grids(overrides: Sequence[str], vary: str, config_dir: Path | None) -> tuple[str, dict[str, Grid]]:
    """Return the setting, and the comparison at each value; UsageError or ConfigError for what keeps any of them from running."""
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
    same: dict[str, str] = {}
    for value, grid in grids.items():
        if (other := same.setdefault(grid.digest, value)) != value:
            raise UsageError(
                f"--vary {vary}: {key}={other} and {key}={value} are the same comparison: the setting has no effect on its runs, or the "
                "values are equal. Leave one out."
            )
    return key, grids


def with_gains_over_dilated(report: Report) -> dict[str, Any]:
    """Return a report whose variants that sample at learnt points say what they gain over the better of the dilated ones.

    The better one is that with the higher mean at this value, chosen afterwards from the same runs, which favours it.
    """
    metric = report["metric"]

    def of_kind(row: Report) -> ConvKind:
        return ConvKind(row["settings"]["conv.kind"])

    dilated = [row for row in report["variants"] if of_kind(row) is ConvKind.dilated and row["runs"]]
    best = max(dilated, key=lambda row: row[metric]["mean"], default=None)
    controls = _run_scores(best) if best else []

    def gain(row: Report) -> dict[str, Any] | None:
        if best is None or not traits_of(row["settings"]).learns_offsets:
            return None
        found = difference_as_dict(paired_difference(controls, _run_scores(row), metric))
        return None if found is None else {"control": best["name"], **json_ready(found)}

    return {**report, "variants": [{**row, OVER_DILATED: gain(row)} for row in report["variants"]]}


def _run_scores(row: Report) -> list[Scores]:
    """Return the scores of a variant's runs."""
    return [read_finished(Path(run["folder"])).scores for run in row["runs"]]


def _write(varied: Sequence[Varied], folder: Path) -> None:
    write_json(folder / "vary.json", as_dict(varied, folder))
    write_text(folder / "vary.md", markdown(varied))
    save_png(plot(varied), folder / FIGURE_NAME)


def as_dict(varied: Sequence[Varied], folder: Path) -> dict[str, Any]:
    """Return scores and differences by setting, variant and value, and where each comparison is: all that the figure shows. Scores are from 0 to 1."""
    first = varied[0]
    return {
        "folder": str(folder),
        "metric": first.metric,
        "level": first.first["level"],
        "reference": first.variants[0],
        "varied": [
            {
                "vary": each.key,
                "comparisons": {value: report["folder"] for value, report in each.reports.items()},
                "missing": each.missing(),
                "variants": [
                    {
                        "name": name,
                        "settings": next(iter(each.of(name).values()))["settings"],
                        "values": {value: _value(each.metric, row) for value, row in each.of(name).items()},
                    }
                    for name in each.variants
                ],
            }
            for each in varied
        ],
    }


def _unfinished(run: Report, failed: bool) -> Unfinished:
    return Unfinished(run["variant"], run["seed"], Path(run["folder"]), run["reason"], failed)


def _value(metric: str, row: Report) -> dict[str, Any]:
    runs = [{"seed": run["seed"], metric: run[metric]} for run in row["runs"]]
    return {**{key: row[key] for key in ("seeds", metric, DIFFERENCE, OVER_DILATED)}, "runs": runs}


def _cells(varied: Varied) -> Iterator[list[str]]:
    """Yield a row for each variant, with its score and what it gains at each value, and one for what it gains over the dilated ones."""
    for name in varied.variants:
        rows = varied.of(name)
        yield [name, *(_score(varied, rows.get(value)) for value in varied.reports)]
        if name in varied.gaining():
            gains = [rows[value][OVER_DILATED] if value in rows else None for value in varied.reports]
            yield [f"{name}, over the better dilated", *("-" if gain is None else _points(gain) for gain in gains)]


def _score(varied: Varied, row: Report | None) -> str:
    """Return the mean score in percent, and the difference to the reference in points with its interval."""
    if row is None or row[varied.metric]["mean"] is None:
        return "-"
    score = in_percent(row[varied.metric]["mean"])
    return score if row[DIFFERENCE] is None else f"{score} ({_points(row[DIFFERENCE])})"


def _points(difference: Report) -> str:
    text = in_percent(difference["mean"], "+")
    if interval := _interval(difference):
        text += " [" + ", ".join(in_percent(end, "+") for end in interval) + "]"
    return text


def _interval(difference: Report) -> list[float] | None:
    """Return the interval of a difference; None for one seed, which is not judged."""
    return difference["interval"] if len(difference["per_seed"]) > 1 else None


def _columns(varied: Varied) -> list[str]:
    return [f"{varied.metric} (%)", *(f"{varied.key}={value}" for value in varied.reports)]


def table(varied: Varied) -> Table:
    """Return the table for the terminal."""
    notes = [_note(varied), *varied.missing()]
    shown = Table(caption=Text("\n".join(map(printable, notes))), caption_justify="left")
    for column in _columns(varied):
        shown.add_column(Text(printable(column)))
    for cells in _cells(varied):
        shown.add_row(*(Text(printable(cell)) for cell in cells))
    return shown


def markdown(varied: Sequence[Varied]) -> str:
    """Return a table for each setting, the figure, the runs that are missing, and where the comparisons are."""
    keys = ", ".join(each.key for each in varied)
    pages = [
        f"- [{escape(f'{each.key}={value}')}]({Path(report['folder']).name}/{PAGE_NAME})"
        for each in varied
        for value, report in each.reports.items()
    ]
    return "\n".join(
        [
            *(line for each in varied for line in _markdown_table(each)),
            f"![Scores and differences against {escape(keys)}]({FIGURE_NAME})",
            "",
            escape(_note(varied[0])),
            "",
            *(f"- {escape(line)}" for each in varied for line in each.missing()),
            *pages,
            "",
        ]
    )


def _markdown_table(varied: Varied) -> list[str]:
    return [
        table_line([escape(column) for column in _columns(varied)]),
        table_line(["---", *["---:" for _ in varied.reports]]),
        *(table_line([escape(cell) for cell in cells]) for cells in _cells(varied)),
        "",
    ]


def _note(varied: Varied) -> str:
    note = (
        f"In brackets the difference to {varied.variants[0]} in points with its {100 * varied.first['level']:g} % interval, as in each comparison; "
        "each interval stands for itself, and none says that differences at two values are unlike."
    )
    if varied.gaining():
        note += " The better dilated variant is the one with the higher mean at that value, chosen afterwards, which favours it."
    return note


def plot(varied: Sequence[Varied]) -> Figure:
    """Plot against each setting, a column each: scores, with a ring for each seed; differences to the reference; gains over the better dilated variant."""
    gains = [(DIFFERENCE, f"difference to {plain_text(varied[0].variants[0])}\n(points)")]
    if any(each.gaining() for each in varied):
        gains.append((OVER_DILATED, "gain over the better\ndilated (points)"))
    rows = 1 + len(gains)
    figure = new_figure((1.2 + _COLUMN * max(len(varied), 1.5), 0.6 + _ROW * rows))
    grid = figure.subplots(rows, len(varied), squeeze=False, sharey="row", sharex="col")
    for column, each in enumerate(varied):
        _plot_column(each, list(grid[:, column]), [key for key, _ in gains])
    for axes, label in zip(grid[:, 0], [f"{varied[0].metric} (%)", *(label for _, label in gains)], strict=True):
        axes.set_ylabel(label)
    grid[0, 0].set_title("Rings: seeds. Lines: their mean", fontsize=LABEL_SIZE, loc="left")
    level = f"{100 * varied[0].first['level']:g} %"
    grid[1, 0].set_title(f"Bars: {level} intervals; significant where clear of 0", fontsize=LABEL_SIZE, loc="left")
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False, fontsize=LABEL_SIZE)
    return figure


def _plot_column(varied: Varied, column: Sequence[Axes], gains: Sequence[str]) -> None:
    places = dict(zip(varied.reports, _places(list(varied.reports)), strict=True))
    kinds: list[str] = []
    span = max(places.values()) - min(places.values()) or 1
    scores, *differences = column
    for axes in differences:
        axes.axhline(0, color=GREY, linewidth=1)
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
        means = [100 * row[varied.metric]["mean"] for row in rows.values()]
        scores.plot([places[value] for value in rows], means, label=plain_text(name), **style)
        for value, row in rows.items():
            of_seeds = [100 * run[varied.metric] for run in row["runs"]]
            scores.scatter([places[value]] * len(of_seeds), of_seeds, s=16, facecolor="none", edgecolor=style["color"])
        aside = (number - (len(varied.variants) - 1) / 2) * _ASIDE * span  # so that no interval hides another
        for axes, key in zip(differences, gains, strict=True):
            found = {places[value] + aside: row[key] for value, row in rows.items() if row[key] is not None}
            _draw_differences(axes, plain_text(name), found, style)
    for axes in column:
        axes.set_xticks(list(places.values()), [plain_text(value) for value in places], fontsize=LABEL_SIZE)
        axes.grid(axis="y", alpha=0.25)
        remove_box(axes)
    column[-1].set_xlabel(plain_text(varied.key))


def _draw_differences(axes: Axes, name: str, differences: Mapping[float, Report], style: Mapping[str, Any]) -> None:
    """Draw what a variant gains, with the intervals; the reference has no difference."""
    if not differences:
        return
    axes.plot(list(differences), [100 * found["mean"] for found in differences.values()], **style, label=name)
    for place, found in differences.items():
        if interval := _interval(found):
            ends = [100 * end for end in interval]
            axes.plot([place, place], ends, color=style["color"], linewidth=2, alpha=0.45, solid_capstyle="butt")


def _places(values: Sequence[str]) -> list[float]:
    """Return where values stand on an axis: numbers where they belong, by their logarithms if they span a decade; else side by side."""
    side_by_side = [float(number) for number in range(len(values))]
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return side_by_side
    if not all(map(isfinite, numbers)) or len(set(numbers)) < len(numbers):
        return side_by_side
    return [log(number) for number in numbers] if 0 < 10 * min(numbers) <= max(numbers) else numbers
