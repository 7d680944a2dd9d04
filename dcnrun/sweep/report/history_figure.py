"""Optimization history: every trial's value, and the best so far."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dcnrun.jobs.ledger import Job, State
from dcnrun.sweep.report.style import BEST, BLACK, GREY, TRIAL, plain, tidy
from dcnrun.sweep.spec.sweep_file import Goal
from dcnrun.sweep.status import Progress


def draw_history(axes: Axes, progress: Progress, metric: str) -> None:
    """Filled: completed; rings: stopped; grey rings: still running; crosses at the foot: failed; line: the best so far."""
    valued = progress.valued()
    for state, colour, face, label in (
        (State.completed, TRIAL, TRIAL, "completed"),
        (State.stopped, TRIAL, "none", "stopped early: its best until then"),
        (State.running, GREY, "none", "running: its best so far"),
    ):
        numbers, values = _points([pair for pair in valued if pair[0].state is state])
        if numbers:
            axes.scatter(numbers, values, s=34, facecolor=face, edgecolor=colour, linewidth=1.2, label=label, zorder=3)
    if valued:
        axes.step(*best_so_far(valued, progress.goal), where="post", color=BEST, linewidth=1.6, label="best so far")
    failed = [job.number for job in progress.jobs if job.state is State.failed]
    if failed:
        foot = axes.get_xaxis_transform()
        axes.scatter(
            failed, [0.025] * len(failed), s=34, marker="x", color=BLACK, transform=foot, label="failed", zorder=3
        )
    axes.set_xlim(-0.5, max(len(progress.jobs) - 0.5, 0.5))
    axes.margins(y=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("trial")
    axes.set_ylabel(plain(metric))
    tidy(axes, f"{'Higher' if progress.goal is Goal.maximize else 'Lower'} is better")
    if valued or failed:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
    if not valued:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial has a value", transform=axes.transAxes, ha="center", color=GREY)


def best_so_far(valued: Sequence[tuple[Job, float]], goal: Goal) -> tuple[list[int], list[float]]:
    """Numbers of the trials in their order, and the best value up to each."""
    better = max if goal is Goal.maximize else min
    numbers, values = _points(sorted(valued, key=lambda pair: pair[0].number))
    return numbers, [better(values[: i + 1]) for i in range(len(values))]


def _points(valued: Sequence[tuple[Job, float]]) -> tuple[list[int], list[float]]:
    return [job.number for job, _ in valued], [value for _, value in valued]
