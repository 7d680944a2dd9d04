"""Progress of the runs of a grid: a line and an updated report after each."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dcnrun.compare import PICTURES
from dcnrun.compare.grid import Grid
from dcnrun.compare.grid_cells import GridCell
from dcnrun.compare.report import finish_report, write_report
from dcnrun.compare.results import Comparison, FinishedRun, Unfinished, VariantResult, compare, read_finished
from dcnrun.console import console, in_words, printable
from dcnrun.errors import RunError
from dcnrun.jobs.ledger import Job, Ledger, State
from dcnrun.jobs.owner import host_of
from dcnrun.jobs.time_left import seconds_left
from dcnrun.jobs.train import log_of
from dcnrun.jobs.worker import Watcher
from dcnrun.runs import RunFolder
from dcnrun.scores import as_percent


class GridProgress(Watcher):
    """Show the progress of a grid, and compare the completed runs after each."""

    def __init__(self, grid: Grid, runs: Sequence[GridCell], folder: Path, ledger: Ledger) -> None:
        self._grid = grid
        self._runs = runs
        self._folder = folder
        self._ledger = ledger
        self._by_folder = {run.path.name: run for run in runs if not run.is_elsewhere}
        self._done: dict[GridCell, FinishedRun] = {}
        self._now: GridCell | None = None
        self._bar: Progress | None = None
        self._began: dict[GridCell, float] = {}
        self._states: dict[GridCell, State] = {}
        self._read_new()
        for run, result in self._done.items():
            where = f" in {run.path}" if run.is_elsewhere else ""
            self._say(run, f"{_score(result)}, already done{where}")
        self._said = set(self._done)

    def begins(self, job: Job) -> None:
        """Show a bar, or print a line where there is no terminal."""
        run = self._now = self._by_folder[job.folder]
        self._began[run] = time.monotonic()
        if run in self._said:
            return
        if not console.is_terminal:
            self._say_that_it_begins(run)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        of_all = TextColumn("{task.fields[left]}")
        self._bar = Progress(
            *columns, TimeRemainingColumn(), of_all, console=console, transient=True, disable=not console.is_terminal
        )
        self._bar.add_task(self._place(run), total=run.steps, left=self._left_for_all())
        self._bar.start()

    def looks(self, job: Job) -> None:
        """Move the bar."""
        if self._bar:
            step = RunFolder(self._by_folder[job.folder].path).last_step()
            self._bar.update(self._bar.task_ids[0], completed=step, left=self._left_for_all())

    def ends(self, job: Job) -> None:
        """Print how it ended, and compare the completed runs unless that was the last."""
        run, self._now = self._by_folder[job.folder], None
        self.close()
        if run in self._said:
            return
        self._read_new()
        if run in self._done:
            self._said.add(run)
            now = time.monotonic()
            self._say(run, f"{_score(self._done[run])}, {in_words(now - self._began.get(run, now))}")
        else:
            unfinished = self._unfinished(run, job)
            self._say(run, f"failed: {unfinished.reason}" if unfinished.failed else unfinished.reason)
        jobs = self._jobs()
        if self._done and any(job.state is State.waiting for job in jobs.values()):
            write_report(self._comparison(jobs), self._folder)

    def look_at_agents(self) -> None:
        """Print what has begun and ended since the last look, where agents run it in processes of their own."""
        for run, job in self._jobs().items():
            before, self._states[run] = self._states.get(run, State.waiting), job.state
            if job.state is before or run in self._said:
                continue
            if job.state is State.running:
                self._began[run] = time.monotonic()
                self._say_that_it_begins(run)
            elif job.state is not State.waiting:
                self.ends(job)

    def waits(self, jobs: Sequence[Job]) -> None:
        """Print which runs of other machines are waited for."""
        hosts = sorted({host_of(job.owner) for job in jobs if job.owner})
        console.print(f"Waiting for {len(jobs)} runs on {', '.join(hosts)}. Ctrl-C to leave.", markup=False)

    def interrupted(self) -> None:
        """Print how to resume."""
        self.close()
        if self._now:
            self._say(self._now, "stopped. The same command goes on.")
        else:
            console.print("Stopped; what the runs have trained is kept. The same command goes on.")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()
        self._bar = None

    def final_report(self, pictures: int = PICTURES) -> tuple[Comparison, dict[str, Any]]:
        """Compare the completed runs and write the report, with so many images in pictures; RunError if there are none."""
        self._read_new()
        jobs = self._jobs()
        if not self._done:
            raise RunError(self._nothing_done(jobs))
        comparison = self._comparison(jobs)
        return comparison, finish_report(comparison, self._folder, pictures)

    def _jobs(self) -> dict[GridCell, Job]:
        return {self._by_folder[job.folder]: job for job in self._ledger.jobs() if job.folder in self._by_folder}

    def _read_new(self) -> None:
        """Read the results of runs completed by now, here or by others in the same folder, in the order of the runs."""
        results = {run: self._done.get(run) or run.finished() for run in self._runs}
        self._done = {run: result for run, result in results.items() if result}

    def _comparison(self, jobs: dict[GridCell, Job]) -> Comparison:
        variants = [
            VariantResult(
                variant.name,
                variant.settings,
                tuple(result for run, result in self._done.items() if run.variant is variant),
            )
            for variant in self._grid.variants
        ]
        return compare(variants, [self._unfinished(run, jobs[run]) for run in self._runs if run not in self._done])

    def _unfinished(self, run: GridCell, job: Job) -> Unfinished:
        """Describe a run without a result here, with the reason."""
        return Unfinished(
            run.variant.name, run.seed, run.path, _why_not_done(run, job), failed=job.state is State.failed
        )

    def _nothing_done(self, jobs: dict[GridCell, Job]) -> str:
        every_failed = all(job.state is State.failed for job in jobs.values())
        title = "Every run failed:" if every_failed else f"No run is completed in {self._folder}:"
        runs: dict[str, list[GridCell]] = {}
        for run, job in jobs.items():  # most share the cause
            runs.setdefault(_why_not_done(run, job), []).append(run)
        reasons = [
            f"  {first.title}{f' and {len(others)} more' if others else ''}: {why} (all of it: {log_of(first.path)})"
            for why, (first, *others) in runs.items()
        ]
        return "\n".join([title, *reasons])

    def _say_that_it_begins(self, run: GridCell) -> None:
        left = self._left_for_all()
        self._say(run, f"{'resuming' if run.is_begun else 'training'}, {run.steps} steps{f', {left}' if left else ''}")

    def _left_for_all(self) -> str:
        """Say how long the comparison goes on, as far as that is known yet."""
        jobs = {run: job for run, job in self._jobs().items() if not self._was_found(run, job)}
        runs = {job.number: run for run, job in jobs.items()}

        def share(job: Job) -> float:
            run = runs[job.number]
            return RunFolder(run.path).last_step() / run.steps

        seconds = seconds_left([*jobs.values()], share, lambda job: runs[job.number].variant.name)
        return "" if seconds is None else f"{in_words(seconds)} left for all"

    def _was_found(self, run: GridCell, job: Job) -> bool:
        """Whether a job took no longer than to find its run completed, by another command."""
        if run not in self._done or job.started is None or job.ended is None:
            return False
        trained: float = self._done[run].summary.get("wall_seconds") or 0.0
        return job.ended - job.started < trained

    def _say(self, run: GridCell, words: str) -> None:
        console.print(printable(f"{self._place(run)}: {words}"), markup=False)

    def _place(self, run: GridCell) -> str:
        return f"[{self._runs.index(run) + 1}/{len(self._runs)}] {run.title}"


def _why_not_done(run: GridCell, job: Job) -> str:
    host = host_of(job.owner or "")
    match job.state:
        case State.waiting:
            return "not run yet"
        case State.running:
            return f"runs on {host}"
        case State.completed if not run.is_begun:
            return f"completed on {host}, but its folder is not here"
        case State.completed:
            return _unreadable(run)
        case _:
            return job.reason or "failed"


def _unreadable(run: GridCell) -> str:
    try:
        read_finished(run.path)
    except RunError as error:
        return str(error)
    return "completed in this moment"


def _score(run: FinishedRun) -> str:
    return f"{run.metric} {as_percent(run.score)}"
