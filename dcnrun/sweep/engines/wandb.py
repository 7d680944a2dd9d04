"""The engine of Weights & Biases: their server chooses the settings and stops runs, their agents run them here.

Each agent is a process, `wandb agent`, which starts each of its runs as a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dcnrun.config.schema import LoggerConfig
from dcnrun.console import console
from dcnrun.errors import RunError, UsageError
from dcnrun.jobs.process import SECONDS_TO_SAVE, last_lines, sigterm_as_interrupt, start_process
from dcnrun.jobs.supervisor import split_count
from dcnrun.masking import masked, masked_urls
from dcnrun.sweep.engines.engine import Options, SweepEngine
from dcnrun.sweep.spec.parameters import OF_EXPONENTS, is_ambiguous, specs
from dcnrun.sweep.spec.sweep_file import SweepFile
from dcnrun.sweep.storage import folder_of
from dcnrun.sweep.trial import gpu_groups_for

_COMMAND = 'command: ["${env}", dcnrun, train, "${args_no_hyphens}"]'
_LOCAL = "or leave out --engine wandb: the local engine needs no account and no network."
_GAVE_UP = "failed runs"  # what an agent logs, before it ends without an error, when too many of its runs failed
_LONGEST_TAG = 64  # characters


@dataclass(frozen=True)
class Agent:
    """An agent that is to be started."""

    name: str
    runs: int | None  # the most runs that it takes, failed ones counted; None: as many as the sweep has
    gpu: str | None  # what CUDA_VISIBLE_DEVICES is for its runs; None: as it is here
    log: Path  # what it and its runs print


class WandbEngine(SweepEngine):
    """`dcnrun sweep FILE --engine wandb`."""

    def problems(self, sweep: SweepFile) -> list[str]:
        """Return what keeps `wandb sweep FILE && wandb agent ID` from running this file, each with its line."""
        return [f"{sweep.at(key)}: {key}: {message}" for key, message in _not_wandb(sweep)]

    def run(self, path: Path, overrides: Sequence[str], options: Options) -> dict[str, Any]:
        """Create a sweep on Weights & Biases and run its agents on this machine until it is over.

        The overrides are added to the command of the file. `options.count` is the number of runs over all agents. Each of
        `options.gpus`, or of its groups where a trial needs several, gets an agent; without GPUs there are `options.agents`.
        Returns the sweep's id (`entity/project/id`), its address and the agents. UsageError without a login or where W&B is
        switched off, both at once; RunError when W&B doesn't take the sweep or an agent fails.
        """
        if options.storage or options.sampler or options.seed is not None or options.repeats or options.retry_failed:
            _refuse_local_options()
        sweep = self.read(path, overrides)
        count, folder = options.cap(sweep), folder_of(sweep, options)
        gpus = gpu_groups_for([*sweep.fixed, *overrides], options.gpus)
        require_login()
        folder.mkdir(parents=True, exist_ok=True)
        agents = plan_agents(count, options.agents, gpus, folder)
        name, address = _create(sweep, overrides)
        console.print(f"Sweep: {address}\nMore agents may join from other machines: wandb agent {name}", markup=False)
        _explain(agents, count)
        run_agents(agents, name, _environment(sweep, folder))
        shown = [{"runs": agent.runs, "gpu": agent.gpu, "log": str(agent.log)} for agent in agents]
        return {"sweep": name, "url": address, "agents": shown}

    def show_plan(self, path: Path, overrides: Sequence[str], options: Options) -> NoReturn:
        """Raise UsageError: their server chooses the settings."""
        _refuse_local_options()

    def show_status(self, sweep: str, options: Options) -> NoReturn:
        """Raise UsageError: it is on their pages."""
        theirs = "Weights & Biases show theirs at the sweep's address."
        raise UsageError(f"--status is for sweeps of the local engine; {theirs}")


def require_login() -> None:
    """Raise UsageError at once where W&B is switched off or there is no login, or when its server refuses the login.

    Without a login no network is tried; with one, the server is asked whose it is.
    """
    import wandb
    from wandb.sdk import wandb_setup

    mode = wandb_setup.singleton().settings.mode
    if mode not in ("online", "run", "shared"):
        raise UsageError(
            f"A sweep on Weights & Biases needs its server, but W&B is {mode} here (WANDB_MODE, or a settings file of W&B). "
            f"Set WANDB_MODE=online or run `wandb online`, {_LOCAL}"
        )
    try:
        logged_in = wandb.login(prompt=False)
    except Exception as error:  # a key that is malformed or refused, no network: the client raises many kinds
        raise UsageError(
            f"Weights & Biases refuses the login, or can't be reached ({masked_urls(str(error))}). Run `wandb login --relogin`, {_LOCAL}"
        ) from error
    if not logged_in:
        none = "A sweep on Weights & Biases needs a login, and there is none"
        raise UsageError(f"{none}: run `wandb login`, or set WANDB_API_KEY, {_LOCAL}")


def plan_agents(count: int | None, agents: int, gpus: Sequence[str], folder: Path) -> list[Agent]:
    """Return the agents among which `count` runs are split: one per GPU, else `agents`.

    An agent without a run is left out, since W&B's agents take a count of 0 for no limit.
    """
    return [
        Agent(f"agent {i}", share, gpus[i] if gpus else None, folder / f"agent-{i}.log")
        for i, share in enumerate(split_count(count, len(gpus) or agents))
    ]


def run_agents(agents: Sequence[Agent], sweep: str, environment: Mapping[str, str]) -> None:
    """Run the agents of a sweep (`entity/project/id`) until all have ended; RunError when one failed or gave up.

    After an interrupt each agent passes it on to its run, which has 30 s to save before it is killed; then
    KeyboardInterrupt is raised.
    """
    with sigterm_as_interrupt():
        statuses = _wait([_start(agent, sweep, environment) for agent in agents])
    for agent, status in zip(agents, statuses, strict=True):
        said = last_lines(agent.log, 0)
        if status != 0 or _GAVE_UP in said:
            raise RunError(f"{agent.name} gave up; {agent.log} ends with: {said}")


def _refuse_local_options() -> NoReturn:
    raise UsageError(
        "--storage, --search, --seed, --repeats, --retry-failed and --dry-run are for the local engine: leave them out."
    )


def _not_wandb(sweep: SweepFile) -> Iterator[tuple[str, str]]:
    """What of a file agents of W&B can't run: keys and messages."""
    if "command" not in sweep.raw:
        yield "method", f"an agent would not know what to run. Add {_COMMAND}."
    parameters = sweep.raw.get("parameters") or {}
    for name, spec in specs(parameters):
        if spec.get("distribution") in OF_EXPONENTS:
            yield f"parameters.{name}", f"W&B refuses {spec['distribution']} by now: use {spec['distribution']}_values."
        if is_ambiguous(spec) and name in parameters:  # the client looks at no nested ones
            yield (
                f"parameters.{name}",
                "W&B's client refuses an integer and another number as ends: write both alike (0.0).",
            )


def _create(sweep: SweepFile, overrides: Sequence[str]) -> tuple[str, str]:
    """Create the sweep at W&B and return its path (`entity/project/id`) and its address."""
    import wandb
    from wandb.sdk import wandb_setup

    config = {**sweep.raw, "name": sweep.name, "command": [*sweep.raw["command"], *overrides]}
    settings = wandb_setup.singleton().settings
    project = sweep.raw.get("project") or settings.project or LoggerConfig.wandb_project
    try:
        number = wandb.sweep(config, entity=sweep.raw.get("entity"), project=project)
    except Exception as error:  # no network, no such entity, a config it refuses: the client raises many kinds
        raise RunError(f"Weights & Biases doesn't take the sweep: {masked_urls(str(error))}") from error
    # The client leaves what the server answered in the environment, for agents to find the sweep.
    entity, project = os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"]
    address = f"{masked(settings.app_url.rstrip('/'))}/{entity}/{project}/sweeps/{number}"
    wandb.teardown()
    return f"{entity}/{project}/{number}", address


def _environment(sweep: SweepFile, folder: Path) -> Mapping[str, str]:
    """The environment of the agents: tags for their runs, a folder for their files, and `dcnrun` as it is here."""
    environment = dict(os.environ)
    own_tags = [tag for tag in environment.get("WANDB_TAGS", "").split(",") if tag]
    tags = [*own_tags, "dcnrun", sweep.name.replace(",", " ")[:_LONGEST_TAG]]
    environment["WANDB_TAGS"] = ",".join(dict.fromkeys(tags))
    environment.setdefault("WANDB_DIR", str(folder.absolute()))
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    return environment


def _explain(agents: Sequence[Agent], count: int | None) -> None:
    if count is not None:
        console.print(f"{count} runs at most, failed ones counted, split over {len(agents)} agents.", markup=False)
    for agent in agents:
        runs = "runs until the sweep is over" if agent.runs is None else f"at most {agent.runs} runs"
        gpu = "" if agent.gpu is None else f", CUDA device {agent.gpu}"
        console.print(f"{agent.name}: {runs}{gpu}, log {agent.log}", markup=False)


def _start(agent: Agent, sweep: str, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    options = ["--forward-signals", "--term-timeout", str(int(SECONDS_TO_SAVE))]
    if agent.runs is not None:
        options += ["--count", str(agent.runs)]
    command = [sys.executable, "-m", "wandb", "agent", *options, sweep]
    gpu = {} if agent.gpu is None else {"CUDA_VISIBLE_DEVICES": agent.gpu}
    return start_process(command, agent.log, {**environment, **gpu})


def _wait(processes: Sequence["subprocess.Popen[bytes]"]) -> list[int]:
    try:
        return [process.wait() for process in processes]
    except KeyboardInterrupt:
        for process in processes:  # the second time an agent ends its runs at once, the third time it kills them
            process.terminate()
        _wait(processes)
        raise
