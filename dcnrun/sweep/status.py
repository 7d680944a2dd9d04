"""The status of a sweep: a table of its trials, live or once; lines where there is no terminal; JSON."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from dcnrun.console import console, in_words, printable
from dcnrun.errors import RunError
from dcnrun.jobs.ledger import Job, State
from dcnrun.jobs.time_left import seconds_left
from dcnrun.runs import RunFolder
from dcnrun.sweep.engines.engine import Sampler
from dcnrun.sweep.objective import ENDED, best_value, target_reached
from dcnrun.sweep.search import Search
from dcnrun.sweep.spec.sweep_file import Goal, Method, Metric, SweepFile
from dcnrun.tasks.registry import metric_text

_BEST_SHOWN = 5
_ROWS_IN_A_FILE = 40
_LINES_AROUND_THE_ROWS = 9
_WIDTH_OF_EDGES = 3  # a line and two spaces around a cell
_LEAST_WIDTH_OF_WHY = 30
_LEAST_WIDTH_OF_SETTINGS = 12
_WIDTH_OF_WHY = 80
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
    settings: int | None = None  # how many there are to try, each once; None where they are a continuum

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

    @property
    def most(self) -> int | None:
        """The number of jobs after which no other comes; None if only the user ends it."""
        limits = [limit for limit in (self.cap, self.settings) if limit is not None]
        return max(min(limits), len(self.jobs)) if limits else None

    @property
    def seconds_left(self) -> float | None:
        """How long it goes on, if that is known yet: trials to come take what those so far took."""
        if self.most is None or self.target_reached:
            return None

        def share(job: Job) -> float | None:
            step, steps = self.steps(job)
            return step / steps if steps else None

        return seconds_left(self.jobs, share, to_come=self.most - len(self.jobs))

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
    """Print the table with every value whole: on a terminal in its width, elsewhere as wide as it is."""
    rows = _Rows(progress, _most_rows())
    if console.is_terminal:
        console.print(rows.whole(console.width))
    else:
        width = max(console.width, rows.width + _WIDTH_OF_WHY)
        Console(file=console.file, width=width, highlight=False).print(rows.whole(width))


@contextmanager
def watching() -> Iterator[Callable[[Progress], None]]:
    """Give a function that keeps a table on the terminal up to date or, elsewhere, prints what has changed."""
    if not console.is_terminal:
        yield _Lines()
        return
    with Live(console=console, transient=True, refresh_per_second=2) as live:
        yield lambda progress: live.update(table(progress, _most_rows()))


def table(progress: Progress, most: int) -> Group:
    """Return a table of at most `most` trials (running, best, latest), a line each, and a line about all."""
    return _Rows(progress, most).cut()


class _Rows:
    """The cells of a table of trials, which is laid out in a width, or with a line for each trial."""

    def __init__(self, progress: Progress, most: int) -> None:
        best, shown = progress.best, _worth_showing(progress, most)
        names = sorted({name for job in progress.jobs for name in job.parameters})
        parameters = dict(zip(names, _short(names), strict=True))
        self._lead = {
            progress.what: [f"{job.number}{' *' if job is best else ''}" for job in shown],
            "state": [_state(job) for job in shown],
        }
        self._settings = {
            short: [in_short(job.parameters.get(name)) for job in shown] for name, short in parameters.items()
        }
        self._end = {
            _metric_name(progress): [_value(progress, job) for job in shown],
            "step": [_step(progress, job) for job in shown],
        }
        if len({_agent(job) for job in progress.jobs if job.owner}) > 1:
            self._end["agent"] = [_agent(job) for job in shown]
        self._why = {f"{progress.what} {job.number}": one_line(job.reason or "") for job in shown}
        hidden = len(progress.jobs) - len(shown)
        more = f"{hidden} more: `dcnrun sweep --status {progress.folder} --json` has all."
        self._below = [*([Text(more)] if hidden else []), Text(summary(progress))]

    @property
    def width(self) -> int:
        """The width of all columns but `why`."""
        return _width(self._lead | self._settings | self._end)

    def cut(self) -> Group:
        """Lay it out with a line for each trial: what does not fit is cut, and most of all `why`."""
        rows = _Table(self._lead | self._settings | self._end, no_wrap=True)
        rows.add("why", [*self._why.values()], Column(no_wrap=True, overflow="ellipsis"))
        return Group(rows.laid_out(), *self._below)

    def whole(self, width: int) -> Group:
        """Lay it out with every value whole. Where it is narrow, reasons stand below, then settings below each other."""
        settings = self._settings if self.width <= width else {"settings": self._named_settings()}
        whys = [*self._why.values()]
        rows = _Table(self._lead, no_wrap=_width(self._lead | self._end) + _LEAST_WIDTH_OF_SETTINGS <= width)
        for heading, cells in settings.items():
            rows.add(heading, cells, Column(no_wrap=settings is self._settings, overflow="fold"))
        for heading, cells in self._end.items():
            rows.add(heading, cells)
        reasons = [Text(f"{who}: {why}") for who, why in self._why.items() if why]
        if any(whys) and self.width + _LEAST_WIDTH_OF_WHY <= width:
            rows.add("why", whys, Column(overflow="fold"))
            reasons = []
        return Group(rows.laid_out(), *reasons, *self._below)

    def _named_settings(self) -> list[str]:
        rows = zip(*self._settings.values(), strict=True)
        return ["\n".join(f"{name}={value}" for name, value in zip(self._settings, row, strict=True)) for row in rows]


class _Table:
    """A table that is built column by column."""

    def __init__(self, columns: Mapping[str, Sequence[str]], no_wrap: bool) -> None:
        self._no_wrap = no_wrap
        self._columns: list[tuple[Column, Sequence[str]]] = []
        for heading, cells in columns.items():
            self.add(heading, cells)

    def add(self, heading: str, cells: Sequence[str], column: Column | None = None) -> None:
        """Add a column, which is laid out as the first ones unless something else is given."""
        column = column or Column(no_wrap=self._no_wrap, overflow="fold")
        self._columns.append((replace(column, header=Text(heading)), cells))

    def laid_out(self) -> Table:
        """Return it as rich has it."""
        table = Table(*(column for column, _ in self._columns))
        for row in zip(*(cells for _, cells in self._columns), strict=True):
            table.add_row(*map(Text, row))
        return table


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    """Return the width of a table of these columns."""
    return 1 + sum(
        max(cell_len(line) for cell in (heading, *cells) for line in (cell.splitlines() or [""])) + _WIDTH_OF_EDGES
        for heading, cells in columns.items()
    )


def _state(job: Job) -> str:
    return job.state.value if job.band is None else f"{job.state.value}, band {job.band}"


def _step(progress: Progress, job: Job) -> str:
    step, steps = progress.steps(job)
    return f"{step}/{steps}" if steps else str(step)


def summary(progress: Progress) -> str:
    """Return all trials in a line: `12 of 20 trials: 2 running, 9 completed, 1 stopped; the best is trial 7, val/miou 43.2 %`."""
    counts = ", ".join(f"{count} {state.value}" for state, count in _counts(progress.jobs).items())
    all_of_them = several(len(progress.jobs) if progress.most is None else progress.most, progress.what)
    number = all_of_them if progress.most is None else f"{len(progress.jobs)} of {all_of_them}"
    best = progress.best
    so_far = f"; the best is {progress.what} {best.number}, {_score(progress, best)}" if best else ""
    seconds = progress.seconds_left
    left = f"; {in_words(seconds)} left" if seconds and any(job.state is State.running for job in progress.jobs) else ""
    return f"{progress.name}: {number}{': ' if counts else ''}{counts}{so_far}{left}"


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
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def one_line(text: str) -> str:
    """Return a text of others for people: on one line, and without what a terminal obeys."""
    return printable(" ".join(text.split()))


class _Lines:
    """Prints a line for each job whose state has changed, and one about all where one has ended."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[State, int]] = {}

    def __call__(self, progress: Progress) -> None:
        has_ended = False
        for job in progress.jobs:
            now = (job.state, job.attempts)
            if self._seen.get(job.number) != now:
                self._seen[job.number] = now
                console.print(f"{progress.what} {job.number}: {_sentence(progress, job)}", markup=False, soft_wrap=True)
                has_ended = has_ended or job.state in ENDED
        if has_ended and not progress.is_over:
            console.print(summary(progress), markup=False, soft_wrap=True)


def _sentence(progress: Progress, job: Job) -> str:
    score = f", {_score(progress, job)}" if progress.value(job) is not None else ""
    match job.state:
        case State.running:
            begun = "running" if job.attempts <= 1 else f"running, attempt {job.attempts}"
            return f"{begun}, {settings_in_words(job.parameters)} ({_agent(job)})"
        case State.waiting:
            return "waiting"
        case State.completed:
            return f"completed{score}" + (f": {one_line(job.reason)}" if job.reason else "")
        case State.stopped | State.failed:
            return f"{job.state.value}{score}: {one_line(job.reason or '')}"


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
