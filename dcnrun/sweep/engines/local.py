"""The local engine: agents on this machine, and on any other that joins, run the trials; the ledger is all they share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcnrun.console import console
from dcnrun.errors import RunError
from dcnrun.jobs.database import STORAGE, storage_url
from dcnrun.jobs.ledger import Ledger, State
from dcnrun.jobs.supervisor import AgentSpec, agent_specs, supervise
from dcnrun.jobs.train import PROGRAM, log_of
from dcnrun.sweep.agent import agent_arguments
from dcnrun.sweep.dry_run import show_plan
from dcnrun.sweep.engines.engine import Options, Sampler, SweepEngine
from dcnrun.sweep.objective import ENDED
from dcnrun.sweep.plan import Plan, Searching
from dcnrun.sweep.search import Search
from dcnrun.sweep.spec.command import read_command
from dcnrun.sweep.spec.parameters import with_values_for_exponents
from dcnrun.sweep.spec.sweep_file import Method, SweepFile
from dcnrun.sweep.status import Progress, as_json, extent, several, show_once, watching
from dcnrun.sweep.storage import (
    create_ledger,
    create_repeats,
    folder_of,
    name_of,
    open_ledger,
    repeats_in,
    require_same_sweep,
)
from dcnrun.sweep.trial import command_line, gpu_groups_for
from dcnrun.tasks.registry import metric_text

# Reports and comparisons are imported where they are made: matplotlib and scipy take seconds, and trials come first.
if TYPE_CHECKING:
    from dcnrun.sweep.repeats import Repeated

_REASONS = 5
_WITHOUT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")

Supervise = Callable[[Sequence[str], Sequence[AgentSpec], Callable[[], object]], None]
"""Runs an agent per spec with a command, and calls a function meanwhile and once at the end: `supervise`."""
RunAgents = Callable[[Ledger, Path, Callable[[], Progress]], None]
"""Runs agents until no job of a ledger is left, in a folder; calls a function meanwhile and at the end, which shows how it stands."""


class LocalEngine(SweepEngine):
    """`dcnrun sweep FILE`, with `dcnrun agent` as its agents."""

    def __init__(self, program: Sequence[str] = PROGRAM, supervise: Supervise = supervise) -> None:
        """`program` stands for `dcnrun` when agents are started, which `supervise` does."""
        self._program = program
        self._supervise = supervise

    def problems(self, sweep: SweepFile) -> list[str]:
        """Return what of a sweep file is for Weights & Biases alone, each with its line."""
        return [f"{sweep.at(key)}: {key}: {message}" for key, message in _not_local(sweep)]

    def plan(self, path: Path, overrides: Sequence[str], options: Options) -> Plan:
        """Read a sweep file; UsageError if its settings can't be compared, where they are to be repeated."""
        sweep = self.read(path, overrides)
        plan = Plan(sweep, tuple(overrides), options.seed or 0, options.sampler or Sampler.tpe)
        if options.repeats:
            from dcnrun.sweep.repeats import check_repeatable

            check_repeatable(plan)
        return plan

    def run(self, path: Path, overrides: Sequence[str], options: Options) -> dict[str, Any]:
        """Run a sweep file to its end, or resume it; print and return what it found.

        Everything is in `options.out`, by default runs/sweeps/<name>: the file, a folder for each trial, logs and, without
        `storage`, the ledger. An interrupt lets trials save; the same command resumes, also after a kill. UsageError for
        what is wrong before the first trial; RunError if every trial failed, or if no agent could continue.
        """
        plan = self.plan(path, overrides, options)
        sweep, folder, storage = plan.sweep, folder_of(plan.sweep, options), storage_url(options.storage)
        run_agents = self.agents(plan, options)
        cap = options.cap(sweep)
        ledger = create_ledger(plan, name_of(sweep, options), folder, storage, cap)
        if options.retry_failed:
            ledger.reopen([job.number for job in ledger.jobs() if job.state is State.failed and not job.damaged])
        console.print(f"{sweep.name}: {extent(sweep, cap)}, in {folder}", markup=False, soft_wrap=True)
        search = Searching(plan).search
        if not _progress(ledger, plan, folder, search).is_over:
            _run(run_agents, ledger, folder, lambda: _progress(ledger, plan, folder, search))
        progress = _progress(ledger, plan, folder, search)
        repeated = None
        self.write_report(plan, progress, None)
        _require_success(progress)
        if options.repeats:
            batch = create_repeats(ledger, plan, folder, storage)
            repeated = self._repeat(run_agents, progress, batch, options)
            self.write_report(plan, progress, repeated)
        _say_if_exhausted(plan, search, progress)
        return _report(plan, progress, repeated)

    def agents(self, plan: Plan, options: Options) -> RunAgents:
        """Return what runs the agents of a sweep; UsageError where there can be none."""
        folder, storage = folder_of(plan.sweep, options), storage_url(options.storage)
        groups = gpu_groups_for([*plan.sweep.fixed, *plan.overrides], options.gpus)
        specs = agent_specs(options.agents, groups, folder / "logs", {STORAGE: storage} if storage else {})
        command = [*self._program, *agent_arguments(name_of(plan.sweep, options), folder, storage)]
        return lambda _, __, look: self._supervise(command, specs, look)

    def show_plan(self, path: Path, overrides: Sequence[str], options: Options) -> dict[str, Any]:
        """Print and return the number of trials, the bands, the search space, the first suggestions and the first command.

        UsageError for what keeps `run` from starting, as far as that shows without a database.
        """
        plan = self.plan(path, overrides, options)
        folder = folder_of(plan.sweep, options)
        gpu_groups_for([*plan.sweep.fixed, *plan.overrides], options.gpus)
        require_same_sweep(folder, plan)
        return show_plan(plan, options.cap(plan.sweep), folder)

    def show_status(self, sweep: str, options: Options) -> dict[str, Any]:
        """Print and return how a sweep stands, wherever it was started."""
        ledger, plan, folder = open_ledger(sweep, storage_url(options.storage), options.out)
        progress = _progress(ledger, plan, folder, Searching(plan).search)
        show_once(progress)
        return as_json(progress)

    def write_report(self, plan: Plan, progress: Progress, repeated: "Repeated | None") -> None:
        """Write the report of a sweep whose agents have ended."""
        from dcnrun.sweep.report.write import write_report

        write_report(plan, progress, repeated)

    def _repeat(self, run_agents: RunAgents, progress: Progress, batch: Ledger, options: Options) -> "Repeated":
        """Run the best settings of a sweep that is over with several seeds, or resume that, and compare them."""
        from dcnrun.compare.report import finish_report, print_report
        from dcnrun.sweep.repeats import add_repeats, choose_candidates, compare_repeats, progress_of_repeats

        assert options.repeats is not None
        folder = repeats_in(progress.folder)
        chosen = choose_candidates(progress, options.top, options.repeats)
        add_repeats(batch, chosen)
        if not progress_of_repeats(progress, batch, chosen, folder).is_over:
            said = f"The best {len(chosen)} settings over {options.repeats} seeds, in {folder}"
            console.print(said, markup=False, soft_wrap=True)
            _run(run_agents, batch, folder, lambda: progress_of_repeats(progress, batch, chosen, folder))
        repeated, comparison = compare_repeats(chosen, progress_of_repeats(progress, batch, chosen, folder))
        finish_report(comparison, folder)
        print_report(comparison, folder)
        return repeated


def _run(run_agents: RunAgents, ledger: Ledger, folder: Path, progress: Callable[[], Progress]) -> None:
    """Run agents and show meanwhile how it stands; RunError, if every job failed, with the reasons for that."""
    last: Progress | None = None
    try:
        with watching() as show:

            def look() -> Progress:
                nonlocal last
                last = None  # if the database stays away, that is the error
                last = progress()
                show(last)
                return last

            run_agents(ledger, folder, look)
    except KeyboardInterrupt:
        console.print("Stopped; what the trials have trained is kept. The same command resumes.", markup=False)
        raise
    except RunError:
        if last is not None:
            _require_success(last)  # why trials fail says more than why the agents ended
        raise


def _not_local(sweep: SweepFile) -> Iterator[tuple[str, str]]:
    """What of a file the local engine can't honour: keys and messages."""
    raw = sweep.raw
    if sweep.method is Method.custom:
        yield "method", "custom leaves the search to a scheduler of Weights & Biases: use bayes, random or grid."
    if "scheduler" in raw:
        searches = "is a program of Weights & Biases that searches"
        yield "scheduler", f"{searches}: leave it out, or use the `wandb` command itself."
    if raw.get("controller", {}).get("type") == "local":
        yield "controller", "type: local asks for `wandb controller`: leave it out, or use the `wandb` command itself."
    for key in ("job", "image_uri"):
        if key in raw:
            yield key, "is for W&B Launch: leave it out, or use the `wandb` command itself."
    if not sweep.parameters:
        yield "method", "no `parameters` are varied."
    command = raw.get("command") or (_WITHOUT_COMMAND if "program" in raw else None)
    if command:
        key = "command" if "command" in raw else "program"
        for problem in read_command([str(item) for item in command], raw.get("program")).problems:
            yield key, problem
    yield from ((f"parameters.{name}", why) for name, why in with_values_for_exponents(raw.get("parameters") or {}))
    fixed = {override.partition("=")[0] for override in sweep.fixed}
    for parameter in sweep.parameters:
        if parameter.name in fixed:
            yield f"parameters.{parameter.name}", "is set in `command` too: leave it out there."


def _progress(ledger: Ledger, plan: Plan, folder: Path, search: Search) -> Progress:
    settings = None if search.space is None else search.space.size
    return Progress(plan.sweep.name, folder, plan.sweep.metric, ledger.cap, ledger.jobs(), settings=settings)


def _say_if_exhausted(plan: Plan, search: Search, progress: Progress) -> None:
    if plan.sweep.method is not Method.grid and search.space is not None and search.is_exhausted(progress.jobs):
        everything = f"Each of the {search.space.size} settings that the sweep file allows was tried"
        console.print(f"{everything}: a run of the same settings gives the same result.", markup=False, soft_wrap=True)


def _report(plan: Plan, progress: Progress, repeated: "Repeated | None") -> dict[str, Any]:
    """Print and return what was found."""
    from dcnrun.sweep.report.content import trial_warnings

    show_once(progress)
    for line in trial_warnings(plan.sweep, progress):
        console.print(f"Warning: {line}", markup=False, soft_wrap=True)
    result, best = as_json(progress), repeated.best if repeated else progress.best
    metric = progress.metric
    if metric is not None and metric.target is not None and progress.target_reached:
        console.print(f"The sweep is over: {metric.name} reached its target {metric_text(metric.name, metric.target)}.")
    if best is not None:
        result["command"] = command_line(best.overrides)
        console.print(f"The best settings again: {result['command']}", markup=False, soft_wrap=True)
    elif metric is not None:
        nothing = f"No trial reported a finite {metric.name}: nothing can be ranked"
        console.print(f"{nothing} (see {progress.folder}/trial-*/metrics.jsonl).", markup=False, soft_wrap=True)
    if repeated:
        result["repeats"] = repeated.as_json()
        console.print(f"{repeated.verdict} {repeated.change}", markup=False, soft_wrap=True)
    console.print(
        f"Written: {progress.folder}/report.md, report.html, report.json, figures", markup=False, soft_wrap=True
    )
    if failed := sum(job.state is State.failed for job in progress.jobs):
        console.print(f"{several(failed)} failed: --retry-failed runs {'it' if failed == 1 else 'them'} again.")
    return result


def _require_success(progress: Progress) -> None:
    """Raise RunError, with the reasons, if every trial failed."""
    ended = [job for job in progress.jobs if job.state in ENDED]
    if not ended or any(job.state is not State.failed for job in ended):
        return
    logs = [(job, log_of(progress.folder / job.folder)) for job in ended[:_REASONS]]
    reasons = [f"  trial {job.number}: {job.reason} (all of it: {log})" for job, log in logs]
    raise RunError("\n".join(["Every trial failed:", *reasons, "--retry-failed runs them again."]))
