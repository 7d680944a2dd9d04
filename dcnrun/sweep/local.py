"""`dcnrun sweep FILE`: the local engine. Agents on this machine run the trials; the ledger is all they share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcnrun.console import console
from dcnrun.errors import RunError
from dcnrun.jobs.database import STORAGE
from dcnrun.jobs.ledger import Ledger, State
from dcnrun.jobs.train import PROGRAM, log_of
from dcnrun.sweep.agent import agent_arguments, gpu_groups_for
from dcnrun.sweep.crew import Post, posts, run_crew
from dcnrun.sweep.places import create_ledger, create_repeats, open_ledger, repeats_in
from dcnrun.sweep.plan import Plan, plan_from
from dcnrun.sweep.prepare import Options, cap_of, folder_of, local_plan, name_of
from dcnrun.sweep.status import Progress, as_json, extent, several, show_once, watching
from dcnrun.sweep.trial import command_line
from dcnrun.sweep.values import ENDED

# Reports and comparisons are imported where they are made: matplotlib and scipy take seconds, and trials come first.
if TYPE_CHECKING:
    from dcnrun.sweep.repeats import Repeated

_REASONS = 5


def run_sweep(
    path: Path, overrides: Sequence[str], options: Options, program: Sequence[str] = PROGRAM
) -> dict[str, Any]:
    """Run a sweep file to its end, or go on with it; print and return what it found.

    Everything is in `options.out`, by default runs/sweeps/<name>: the file, a folder for each trial, logs and, without
    `storage`, the ledger. An interrupt lets trials save; the same command goes on, also after a kill. UsageError for what
    is wrong before the first trial; RunError if every trial failed, or if no agent could go on. `program` stands for
    `dcnrun` when agents are started.
    """
    plan = local_plan(path, overrides, options)
    sweep, folder = plan.sweep, folder_of(plan.sweep, options)
    groups = gpu_groups_for([*sweep.fixed, *overrides], options.gpus)
    cap = cap_of(sweep, options)
    ledger = create_ledger(plan, name_of(sweep, options), folder, options.storage, cap)
    if options.retry_failed:
        ledger.reopen([job.number for job in ledger.jobs() if job.state is State.failed])
    console.print(f"{sweep.name}: {extent(sweep, cap)}, in {folder}", markup=False, soft_wrap=True)
    environment = {STORAGE: options.storage} if options.storage else {}
    at = posts(options.agents, groups, folder / "logs", environment)
    command = [*program, *agent_arguments(ledger, folder, options.storage)]
    if not _progress(ledger, plan, folder).is_over:
        _run_agents(command, at, lambda: _progress(ledger, plan, folder))
    from dcnrun.sweep.report.write import write_report

    progress = _progress(ledger, plan, folder)
    repeated = None
    write_report(plan, progress)
    _require_success(progress)
    if options.repeats:
        batch = create_repeats(ledger, folder, options.storage)
        repeated = _repeat(command, at, progress, batch, options.repeats, options.top)
        write_report(plan, progress, repeated)
    return _report(progress, repeated)


def show_status(sweep: str, storage: str | None, out: Path | None = None) -> dict[str, Any]:
    """Print and return how a sweep stands, wherever it was started."""
    ledger, folder = open_ledger(sweep, storage, out)
    progress = _progress(ledger, plan_from(ledger.text), folder)
    show_once(progress)
    return as_json(progress)


def _repeat(
    command: Sequence[str], at: Sequence[Post], progress: Progress, batch: Ledger, seeds: int, top: int
) -> "Repeated":
    """Run the best settings of a sweep that is over with several seeds, or go on with that, and compare them."""
    from dcnrun.compare.report import print_report, write_report
    from dcnrun.sweep.repeats import compared, contenders, enter, repeats_of

    folder = repeats_in(progress.folder)
    chosen = contenders(progress, top, seeds)
    enter(batch, chosen)
    if not repeats_of(progress, batch, chosen, folder).is_over:
        console.print(f"The best {len(chosen)} settings over {seeds} seeds, in {folder}", markup=False, soft_wrap=True)
        _run_agents(command, at, lambda: repeats_of(progress, batch, chosen, folder))
    repeated, comparison = compared(chosen, repeats_of(progress, batch, chosen, folder))
    write_report(comparison, folder)
    print_report(comparison, folder)
    return repeated


def _run_agents(command: Sequence[str], at: Sequence[Post], progress: Callable[[], Progress]) -> None:
    last: Progress | None = None
    try:
        with watching() as show:

            def look() -> None:
                nonlocal last
                last = None  # a database that stays away is told of as that
                last = progress()
                show(last)

            run_crew(command, at, look)
    except KeyboardInterrupt:
        console.print("Stopped; what the trials have trained is kept. The same command goes on.", markup=False)
        raise
    except RunError:
        if last is not None:
            _require_success(last)  # why trials fail says more than that no agent goes on
        raise


def _progress(ledger: Ledger, plan: Plan, folder: Path) -> Progress:
    return Progress(plan.sweep.name, folder, plan.sweep.metric, ledger.cap, ledger.jobs())


def _report(progress: Progress, repeated: "Repeated | None") -> dict[str, Any]:
    """Print what was found."""
    show_once(progress)
    result, best = as_json(progress), repeated.best if repeated else progress.best
    if progress.target_reached and progress.metric is not None:
        console.print(f"The sweep is over: {progress.metric.name} reached its target {progress.metric.target:g}.")
    if best is not None:
        result["command"] = command_line(best.overrides)
        console.print(f"The best settings again: {result['command']}", markup=False, soft_wrap=True)
    elif progress.metric is not None:
        nothing = f"No trial reported a finite {progress.metric.name}: nothing can be ranked"
        console.print(f"{nothing} (see {progress.folder}/trial-*/metrics.jsonl).", markup=False, soft_wrap=True)
    if repeated:
        result["repeats"] = repeated.as_json()
        console.print(f"{repeated.verdict} {repeated.change}", markup=False, soft_wrap=True)
    console.print(f"Written: {progress.folder}/report.md, report.json, figures", markup=False, soft_wrap=True)
    if failed := sum(job.state is State.failed for job in progress.jobs):
        console.print(f"{several(failed)} failed: --retry-failed runs {'it' if failed == 1 else 'them'} again.")
    return result


def _require_success(progress: Progress) -> None:
    """RunError, with the reasons, if every trial failed."""
    ended = [job for job in progress.jobs if job.state in ENDED]
    if not ended or any(job.state is not State.failed for job in ended):
        return
    reasons = [
        f"  trial {job.number}: {job.reason} (all of it: {log_of(progress.folder / job.folder)})"
        for job in ended[:_REASONS]
    ]
    raise RunError("\n".join(["Every trial failed:", *reasons, "--retry-failed runs them again."]))
