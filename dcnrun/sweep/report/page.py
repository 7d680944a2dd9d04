"""The report of a sweep as a page: report.html, one file with every trial, the best, importance and curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dcnrun.console import printable
from dcnrun.jobs.ledger import Job, State
from dcnrun.pages.curves import columns, rounded, thinned
from dcnrun.pages.page import (
    CHARTS,
    REPORT_STYLE,
    Html,
    chart,
    element,
    items,
    report_body,
    section,
    table,
    write_page,
)
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.repeats import Repeated
from dcnrun.sweep.report.content import EXPLAINED, METHOD, Importance, cost, most_important, varies
from dcnrun.sweep.report.figures import best_so_far, is_logarithmic
from dcnrun.sweep.report.markdown import NOISE, REPEAT_COLUMNS, repeat_cells
from dcnrun.sweep.spec.distributions import Categorical, index_of
from dcnrun.sweep.spec.sweep_file import Goal, Parameter
from dcnrun.sweep.status import Progress, in_short, summary
from dcnrun.tasks.registry import is_score, metric_text

_SCRIPT = Path(__file__).with_name("page.js")
_MOST_ROWS = 2000
_MOST_POINTS, _FEWEST_OF_CURVE, _MOST_OF_CURVE = 60_000, 20, 400
_NONE = "-"


def write_sweep(
    plan: Plan,
    progress: Progress,
    found: Importance,
    repeated: Repeated | None,
    command: str | None,
    warnings: Sequence[str],
    path: Path,
) -> None:
    """Write the page of a sweep, beside `path` and renamed.

    Args:
        plan: The sweep.
        progress: Its trials.
        found: The importance of its parameters.
        repeated: Its best settings over seeds, where they were run.
        command: The command of the best settings.
        warnings: What trials differ in beside their parameters.
        path: The HTML file.
    """
    body = report_body(
        progress.name,
        f"{summary(progress)}.",
        *_cautions(warnings),
        _best(progress, repeated, command),
        *([_repeats(repeated)] if repeated else []),
        *_charts(progress, found, plan),
        _importance(found),
        *_trials(progress),
        *_stopped(plan, progress),
    )
    write_page(path, f"Sweep: {progress.name}", body, _data(plan, progress, found), [REPORT_STYLE], [CHARTS, _SCRIPT])


def _cautions(lines: Sequence[str]) -> list[Html]:
    return (
        [element("section", element("h2", "Before you rely on it"), items(lines), class_="warnings")] if lines else []
    )


def _best(progress: Progress, repeated: Repeated | None, command: str | None) -> Html:
    best = repeated.best if repeated else progress.best
    if best is None or command is None:
        return section("Best settings", element("p", "No trial has a value."))
    by = f"the best mean over seeds {', '.join(map(str, repeated.seeds))}" if repeated else "the best single run"
    shown = element("pre", element("code", command), tabindex="0")
    noise = Html("") if repeated else element("p", NOISE, class_="note")
    return section("Best settings", element("p", f"Trial {best.number}, {by}:"), shown, noise)


def _repeats(repeated: Repeated) -> Html:
    header = [f"mean {repeated.metric} (%)" if name == "mean" else name or "rank" for name in REPEAT_COLUMNS]
    cells = [repeat_cells(i, setting) for i, setting in enumerate(repeated.ranking, start=1)]
    listed = table("Settings over seeds", header, cells, (len(header) - 1,))
    missing = items([f"Not included: {reason}" for reason in repeated.missing])
    note = element(
        "p", "At the last step; the trials' own runs don't count. All of it: repeats/compare.html.", class_="note"
    )
    return section("Over seeds", element("p", f"{repeated.verdict} {repeated.change}"), listed, missing, note)


def _charts(progress: Progress, found: Importance, plan: Plan) -> list[Html]:
    if progress.metric is None or not progress.valued():
        return []
    unit = f"{progress.metric.name}{' (%)' if is_score(progress.metric.name) else ''}"
    better = "higher" if progress.goal is Goal.maximize else "lower"
    pick = element("label", "Parameter ", element("select", id="parameter"), class_="choice")
    along = (
        [element("div", pick, chart("slice", f"{unit} of each trial against the parameter"))]
        if _shown_parameters(plan, found)
        else []
    )
    shares = [chart("importance", f"Share of the importance in percent ({METHOD})")] if found.shares else []
    return [
        section(
            "Figures",
            element(
                "div",
                chart(
                    "history",
                    f"{unit} of each trial, {better} is better: filled completed, hollow stopped early or running; dashed the best so far",
                ),
                *along,
                *shares,
                class_="charts",
            ),
        ),
        section(
            "Curves",
            element(
                "fieldset", element("legend", "Trials in the figure, the best first"), id="variants", class_="variants"
            ),
            chart("curves", f"{unit} at each report"),
        ),
    ]


def _importance(found: Importance) -> Html:
    if found.why_not:
        return section("Importance of parameters", element("p", f"Left out: {found.why_not}."))
    cells = [(name, f"{100 * share:.0f} %") for name, share in found.shares.items()]
    listed = table("Importance of parameters", ("parameter", "share"), cells)
    return section("Importance of parameters", listed, element("p", f"{METHOD}: {EXPLAINED}.", class_="note"))


def _trials(progress: Progress) -> list[Html]:
    """Return the section of all trials: those with a value by rank, then the others."""
    ranked = progress.valued()
    ranks = {job.number: rank for rank, (job, _) in enumerate(ranked, start=1)}
    jobs = [*(job for job, _ in ranked), *(job for job in progress.jobs if job.number not in ranks)]
    if not jobs:
        return []
    metric = progress.metric.name if progress.metric else "metric"
    names = sorted({name for job in jobs for name in job.parameters})
    cells = [
        (
            f"trial {job.number}",
            str(ranks.get(job.number, _NONE)),
            _value_text(progress, job, metric),
            job.state.value,
            *(in_short(job.parameters.get(name)) for name in names),
            job.reason or "",
        )
        for job in jobs[:_MOST_ROWS]
    ]
    header = ("trial", "rank", metric, "state", *names, "reason")
    more = (
        [element("p", f"{len(jobs) - _MOST_ROWS} more are in report.json.", class_="note")]
        if len(jobs) > _MOST_ROWS
        else []
    )
    return [section("Trials", table("Trials", header, cells, (0, 3, len(header) - 1)), *more)]


def _value_text(progress: Progress, job: Job, metric: str) -> str:
    value = None if job.state is State.failed else progress.value(job)
    return _NONE if value is None else metric_text(metric, value)


def _stopped(plan: Plan, progress: Progress) -> list[Html]:
    if plan.sweep.early_terminate is None:
        return []
    return [section("Stopped early", element("p", str(cost(progress))))]


def _shown_parameters(plan: Plan, found: Importance) -> list[Parameter]:
    """Return the parameters that vary, the most important first."""
    varying = {each.name: each for each in plan.sweep.parameters if varies(each)}
    return [varying[name] for name in most_important(list(varying), found)]


def _data(plan: Plan, progress: Progress, found: Importance) -> dict[str, Any]:
    """Return what the charts are drawn from: trials with a value by rank; scores in percent."""
    ranked = progress.valued()
    metric = progress.metric.name if progress.metric else ""
    scale = 100 if is_score(metric) else 1
    points = min(max(_MOST_POINTS // max(len(ranked), 1), _FEWEST_OF_CURVE), _MOST_OF_CURVE)
    parameters = _shown_parameters(plan, found)
    numbers, values = best_so_far(ranked, progress.goal)
    return {
        "metric": printable(metric) + (" (%)" if scale == 100 else ""),
        "best": columns(list(zip(numbers, values, strict=True)), scale, 5),
        "importance": [[printable(name), rounded(100 * share)] for name, share in found.shares.items()],
        "parameters": [
            {
                "name": printable(each.name),
                "log": is_logarithmic(each.distribution),
                "names": _choices(each),
                "values": [_position(each, job.parameters.get(each.name)) for job, _ in ranked],
            }
            for each in parameters
        ],
        "trials": [
            {
                "number": rank,
                "trial": job.number,
                "name": printable(_trial_name(job, parameters)),
                "value": rounded(scale * value, 5),
                "completed": job.state is State.completed,
                "curve": columns(thinned(job.history, points), scale),
            }
            for rank, (job, value) in enumerate(ranked, start=1)
        ],
    }


def _trial_name(job: Job, parameters: Sequence[Parameter]) -> str:
    own = (f"{each.name.rpartition('.')[2]}={in_short(job.parameters.get(each.name))}" for each in parameters)
    return " ".join([f"trial {job.number}", *own])


def _choices(parameter: Parameter) -> list[str] | None:
    """Return the values of a choice, which stand at 0, 1, ... of an axis; None for a parameter of numbers."""
    distribution = parameter.distribution
    return (
        [printable(in_short(value)) for value in distribution.values] if isinstance(distribution, Categorical) else None
    )


def _position(parameter: Parameter, value: Any) -> float | None:
    distribution = parameter.distribution
    if value is None and not isinstance(distribution, Categorical):
        return None
    return float(index_of(distribution.values, value) if isinstance(distribution, Categorical) else value)
