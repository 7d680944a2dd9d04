"""The status of a sweep: a table of its trials, live or once; lines where there is no terminal; JSON."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dcnrun.console import console
from dcnrun.errors import RunError
from dcnrun.jobs.ledger import Job, State
from dcnrun.runs import RunFolder
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.objective import ENDED, best_value, target_reached
from dcnrun.sweep.search import Search
from dcnrun.sweep.spec.sweep_file import Goal, Method, Metric, SweepFile
from dcnrun.tasks.registry import metric_text

_BEST_SHOWN = 5
_ROWS_IN_A_FILE = 40
_LINES_AROUND_THE_ROWS = 9
_ORDER = (State.running, State.completed, State.stopped, State.failed, State.waiting)


@dataclass(frozen=True)
class Progress:
    """A sweep at a moment."""

    name: str
    folder: Path  # the folder of its run folders, on this machine
    metric: Metric | None
    cap: int | None
    jobs: Sequence[Job]
    what: str = "trial"  # the word for a job in messages

    @property
    def goal(self) -> Goal:
        """Which values are better."""
        return self.metric.goal if self.metric else Goal.minimize

    def value(self, job: Job) -> float | None:
        """Return the best of a job's reports so far."""
        return best_value(job, self.goal)

    def ranked(self) -> list[Job]:
        """Return the jobs that have a value and did not fail, best first."""
        return [job for job, _ in self.valued()]

    def valued(self) -> list[tuple[Job, float]]:
        """Return the ranked jobs with their values."""
        sign = -1 if self.goal is Goal.maximize else 1
        counted = [job for job in self.jobs if job.state is not State.failed]
        valued = [(job, value) for job in counted if (value := self.value(job)) is not None]
        return sorted(valued, key=lambda pair: (sign * pair[1], pair[0].number))

    @property
    def best(self) -> Job | None:
        """The best job that has ended, if any has a value."""
        return next((job for job in self.ranked() if job.state in ENDED), None)

    @property
    def target_reached(self) -> bool:
        """Whether the sweep is over because a job reached the metric's target."""
        return self.metric is not None and target_reached(self.metric, self.jobs)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do; whether a grid is exhausted is not known here."""
        full = self.cap is not None and len(self.jobs) >= self.cap
        return (full or self.target_reached) and all(job.state in ENDED for job in self.jobs)

    def steps(self, job: Job) -> tuple[int, int | None]:
        """Return the last step that a job logged and, where its folder is on this machine, the number of its steps."""
        folder = RunFolder(self.folder / job.folder)
        reported = job.history[-1][0] if job.history else 0
        try:
            steps = folder.read_summary().get("steps")
        except RunError:
            return reported, None
        return max(folder.last_step(), reported), steps if isinstance(steps, int) else None


def as_json(progress: Progress) -> dict[str, Any]:
    """Return plain values for JSON: counts, the best job, and every job with its history."""
    best = progress.best
    return {
        "sweep": progress.name,
        "folder": str(progress.folder),
        "metric": progress.metric.name if progress.metric else None,
        "goal": progress.goal.value,
        "cap": progress.cap,
        "target_reached": progress.target_reached,
        "states": {state.value: count for state, count in _counts(progress.jobs).items()},
        "best": best.number if best else None,
        "trials": [_job_as_json(progress, job) for job in progress.jobs],
    }


def show_once(progress: Progress) -> None:
    """Print the table."""
    console.print(table(progress, _most_rows()))


@contextmanager
def watching() -> Iterator[Callable[[Progress], None]]:
    """Give a function that keeps a table on the terminal up to date or, elsewhere, prints what has changed."""
    if not console.is_terminal:
        yield _Lines()
        return
    with Live(console=console, transient=True, refresh_per_second=2) as live:
        yield lambda progress: live.update(table(progress, _most_rows()))


def table(progress: Progress, most: int) -> Group:
    """Return a table of at most `most` trials (running, best, latest), and a line about all."""
    names = sorted({name for job in progress.jobs for name in job.parameters})
    several_agents = len({_agent(job) for job in progress.jobs if job.owner}) > 1
    rows = Table()
    for heading in (progress.what, "state", *_short(names), _metric_name(progress), "step"):
        rows.add_column(heading, no_wrap=True)
    rows.add_column("why")  # the one that is cut where the terminal is narrow
    if several_agents:
        rows.add_column("agent", no_wrap=True)
    best, shown = progress.best, _worth_showing(progress, most)
    for job in shown:
        mark = " *" if job is best else ""
        state = job.state.value if job.band is None else f"{job.state.value}, band {job.band}"
        cells = [f"{job.number}{mark}", state, *(in_short(job.parameters.get(name)) for name in names)]
        step, steps = progress.steps(job)
        cells += [_value(progress, job), f"{step}/{steps}" if steps else str(step)]
        why = Text(job.reason or "", no_wrap=True, overflow="ellipsis")
        rows.add_row(*map(Text, cells), why, *([Text(_agent(job))] if several_agents else []))
    hidden = len(progress.jobs) - len(shown)
    lines = [Text(f"{hidden} more: `dcnrun sweep --status {progress.folder} --json` has all.")] if hidden else []
    return Group(rows, *lines, Text(summary(progress)))


def summary(progress: Progress) -> str:
    """Return all trials in a line: `12 of 20 trials: 2 running, 9 completed, 1 stopped; the best is trial 7, val/miou 43.2 %`."""
    counts = ", ".join(f"{count} {state.value}" for state, count in _counts(progress.jobs).items())
    all_of_them = several(progress.cap or len(progress.jobs), progress.what)
    number = f"{len(progress.jobs)} of {all_of_them}" if progress.cap else all_of_them
    best = progress.best
    so_far = f"; the best is {progress.what} {best.number}, {_score(progress, best)}" if best else ""
    return f"{progress.name}: {number}{': ' if counts else ''}{counts}{so_far}"


def several(number: int, what: str = "trial") -> str:
    """Return a number of jobs in words: `1 trial`, `3 trials`."""
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def extent(sweep: SweepFile, cap: int | None) -> str:
    """Return the number of trials of a sweep, in words."""
    space = Search(sweep, 0, Sampler.tpe).space
    if space is None:
        return "trials until you stop it (there is no run_cap and no --count)" if cap is None else several(cap)
    everything = f"a grid of {several(space.size)}" if sweep.method is Method.grid else several(space.size)
    if cap is None or cap >= space.size:
        return everything if sweep.method is Method.grid else f"{everything}, one for each setting that there is"
    return f"{several(cap)} of a grid of {space.size}" if sweep.method is Method.grid else several(cap)


def settings_in_words(parameters: Mapping[str, Any]) -> str:
    """Return a setting in words: `conv.groups=2 optim.offset_lr_mult=0.01234`."""
    return " ".join(f"{name}={in_short(value)}" for name, value in parameters.items())


def in_short(value: Any) -> str:
    """Return a value for people: numbers with four digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _Lines:
    """Prints a line for each job whose state has changed."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[State, int]] = {}

    def __call__(self, progress: Progress) -> None:
        for job in progress.jobs:
            now = (job.state, job.attempts)
            if self._seen.get(job.number) != now:
                self._seen[job.number] = now
                console.print(f"{progress.what} {job.number}: {_sentence(progress, job)}", markup=False, soft_wrap=True)


def _sentence(progress: Progress, job: Job) -> str:
    score = f", {_score(progress, job)}" if progress.value(job) is not None else ""
    match job.state:
        case State.running:
            begun = "running" if job.attempts <= 1 else f"running, attempt {job.attempts}"
            return f"{begun}, {settings_in_words(job.parameters)} ({_agent(job)})"
        case State.waiting:
            return "waiting"
        case State.completed:
            return f"completed{score}"
        case State.stopped | State.failed:
            return f"{job.state.value}{score}: {job.reason}"


def _worth_showing(progress: Progress, most: int) -> list[Job]:
    running = [job for job in progress.jobs if job.state is State.running]
    by_worth = [*running, *progress.ranked()[:_BEST_SHOWN], *reversed(progress.jobs)]
    numbers = list(dict.fromkeys(job.number for job in by_worth))[:most]
    return [job for job in progress.jobs if job.number in numbers]


def _counts(jobs: Sequence[Job]) -> dict[State, int]:
    counts = Counter(job.state for job in jobs)
    return {state: counts[state] for state in _ORDER if counts[state]}


def _short(names: Sequence[str]) -> list[str]:
    """Return the last part of each name where it is unique, and the whole name elsewhere."""
    last = Counter(name.rpartition(".")[2] for name in names)
    return [short if last[short := name.rpartition(".")[2]] == 1 else name for name in names]


def _metric_name(progress: Progress) -> str:
    return progress.metric.name if progress.metric else "metric"


def _score(progress: Progress, job: Job) -> str:
    return f"{_metric_name(progress)} {_value(progress, job)}"


def _value(progress: Progress, job: Job) -> str:
    value = progress.value(job)
    return "" if value is None else metric_text(_metric_name(progress), value)


def _agent(job: Job) -> str:
    """Return host and process of the agent that has or had the job."""
    return ":".join((job.owner or "").split(":")[:2])


def _job_as_json(progress: Progress, job: Job) -> dict[str, Any]:
    step, steps = progress.steps(job)
    return {
        "number": job.number,
        "state": job.state.value,
        "parameters": dict(job.parameters),
        "overrides": list(job.overrides),
        "value": progress.value(job),
        "history": [list(report) for report in job.history],
        "step": step,
        "steps": steps,
        "band": job.band,
        "reason": job.reason,
        "attempts": job.attempts,
        "agent": job.owner,
        "started": job.started,
        "ended": job.ended,
        "run": str(progress.folder / job.folder),
    }


def _most_rows() -> int:
    return max(console.height - _LINES_AROUND_THE_ROWS, _BEST_SHOWN) if console.is_terminal else _ROWS_IN_A_FILE
