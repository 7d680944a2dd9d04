"""The report as Markdown: report.md."""

import re
from collections.abc import Iterator, Sequence

from dcnrun.compare.tables import difference_text, escape
from dcnrun.jobs.ledger import State
from dcnrun.scores import in_percent
from dcnrun.statistics import Interval
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.repeats import RankedSetting, Repeated
from dcnrun.sweep.report.content import EXPLAINED, METHOD, Importance, cost
from dcnrun.sweep.status import Progress, in_short, summary
from dcnrun.tasks.registry import metric_text

REPEAT_COLUMNS = ("", "trial", "by single run", "mean", "95 % of the mean", "to the best (points)", "verdict")
"""Of the settings that were repeated; the mean is of a metric in percent."""
_MOST_ROWS = 20
_MOST_REASONS = 50
NOISE = (
    "Each value is that of one run. Runs that differ by their seed alone differ too, often by more than settings near the top do: "
    "differences smaller than that are not a ranking."
)


def markdown(
    plan: Plan,
    progress: Progress,
    found: Importance,
    repeated: Repeated | None,
    command: str | None,
    warnings: Sequence[str],
    figures: Sequence[tuple[str, str]],
) -> str:
    """Return the best settings, the rankings, importance, and what was stopped, as Markdown.

    Args:
        plan: The sweep.
        progress: Its trials.
        found: The importance of its parameters.
        repeated: Its best settings over seeds, where they were run.
        command: The command of the best settings.
        warnings: What trials differ in beside their parameters.
        figures: Paths and captions.
    """
    sections = [
        [f"# {escape(progress.name)}", "", f"{escape(summary(progress))}."],
        [f"- **Warning:** {escape(line)}" for line in warnings],
        _best(progress, repeated, command),
        _repeats(repeated) if repeated else [],
        _ranking(progress, repeated is not None),
        _importance(found),
        _ended_early(plan, progress),
        [line for path, caption in figures for line in (f"![{escape(caption)}]({path})", "")],
    ]
    return "\n\n".join("\n".join(lines).strip() for lines in sections if lines) + "\n"


def _best(progress: Progress, repeated: Repeated | None, command: str | None) -> list[str]:
    best = repeated.best if repeated else progress.best
    if best is None or command is None:
        return ["## Best settings", "", "No trial has a value."]
    by = f"the best mean over seeds {', '.join(map(str, repeated.seeds))}" if repeated else "the best single run"
    return ["## Best settings", "", f"Trial {best.number}, {by}:", "", *_fenced(command)]


def _repeats(repeated: Repeated) -> list[str]:
    return [
        "## Over seeds",
        "",
        repeated.verdict,
        repeated.change,
        "",
        *_table(
            [f"mean {repeated.metric} (%)" if name == "mean" else name for name in REPEAT_COLUMNS],
            [repeat_cells(i + 1, setting) for i, setting in enumerate(repeated.ranking)],
        ),
        "",
        "At the last step (a trial's own value is the best of its reports). The trials' own "
        "runs don't count: settings were chosen by them, so that they are likely to flatter. Of several means, the best is still "
        "likely to be somewhat above what more seeds would give. The interval of a mean is Student's t "
        "over the seeds. The difference to the best pairs runs by seed, with the interval that spans t and a bootstrap over seeds "
        "and validation images. All of it: [repeats/compare.md](repeats/compare.md).",
        *(f"- Not included: {escape(reason)}" for reason in repeated.missing),
    ]


def repeat_cells(rank: int, row: RankedSetting) -> list[str]:
    """Return the cells of a setting that was repeated, under REPEAT_COLUMNS."""
    difference = row.difference
    return [
        str(rank),
        str(row.trial.number),
        str(row.rank_by_single_run),
        "" if row.mean is None else in_percent(row.mean),
        _interval(row.interval),
        "" if difference is None else difference_text(difference),
        "" if difference is None else difference.verdict,
    ]


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"[{in_percent(interval.low)}, {in_percent(interval.high)}]"


def _ranking(progress: Progress, is_repeated: bool) -> list[str]:
    ranked = progress.valued()
    if not ranked:
        return []
    names = sorted({name for job, _ in ranked for name in job.parameters})
    metric = progress.metric.name if progress.metric else "metric"
    rows = []
    for i, (job, value) in enumerate(ranked[:_MOST_ROWS]):
        parameters = [in_short(job.parameters.get(name)) for name in names]
        rows.append([str(i + 1), str(job.number), metric_text(metric, value), job.state.value, *parameters])
    more = [f"{len(ranked) - _MOST_ROWS} more are in report.json."] if len(ranked) > _MOST_ROWS else []
    how = "`--repeats 3` runs the best few again over three seeds and ranks them by their means."
    said = " ".join([*more, NOISE, *([] if is_repeated else [how])])
    return ["## Ranking by single runs", "", *_table(("", "trial", metric, "state", *names), rows), "", said]


def _importance(found: Importance) -> list[str]:
    title = ["## Importance of parameters", ""]
    if found.why_not:
        return [*title, f"Left out: {found.why_not}."]
    rows = [[name, f"{100 * share:.0f} %"] for name, share in found.shares.items()]
    return [*title, *_table(("parameter", "share"), rows), "", f"{METHOD}: {EXPLAINED}."]


def _ended_early(plan: Plan, progress: Progress) -> list[str]:
    jobs = [job for job in progress.jobs if job.state in (State.stopped, State.failed) or job.reason]
    rule = plan.sweep.early_terminate
    if not jobs and rule is None:
        return []
    reasons = [f"- trial {job.number}, {job.state.value}: {escape(job.reason or '')}" for job in jobs[:_MOST_REASONS]]
    more = [f"- {len(jobs) - _MOST_REASONS} more are in report.json."] if len(jobs) > _MOST_REASONS else []
    saved = [str(cost(progress)), *([""] if reasons else [])] if rule else []
    return ["## Stopped, ended early and failed", "", *saved, *reasons, *more]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(map(escape, columns))} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(map(escape, row))} |"


def _fenced(command: str) -> list[str]:
    """Return the command between fences that it can't close."""
    longest = max((len(run) for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}console", command, fence]
