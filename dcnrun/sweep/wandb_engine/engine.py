"""A sweep on Weights & Biases, from its file to the end of its agents."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcnrun.config.schema import LoggerConfig
from dcnrun.console import console
from dcnrun.errors import ConfigError, RunError
from dcnrun.sweep.spec.engines import wandb_problems
from dcnrun.sweep.spec.sweep_file import SweepFile
from dcnrun.sweep.wandb_engine.agents import Agent, plan_agents, run_agents

# The most characters of a tag.
_LONGEST_TAG = 64


def run_wandb_sweep(
    sweep: SweepFile,
    overrides: Sequence[str] = (),
    *,
    count: int | None = None,
    agents: int = 1,
    gpus: Sequence[str] = (),
    folder: Path,
) -> dict[str, Any]:
    """Create a sweep on Weights & Biases and run its agents on this machine until it is over.

    `overrides` are added to the command of the file. `count` is the number of runs over all agents, None as many as the
    sweep has. Each of `gpus` (what CUDA_VISIBLE_DEVICES is to be, such as "0" or "0,1") gets an agent; without them there
    are `agents`. `folder` holds what the agents print and the client's own files.
    Returns the sweep's id (`entity/project/id`), its address and the agents. ConfigError for a file that W&B's agents
    can't run, UsageError without a login or where W&B is switched off, both at once; RunError when W&B doesn't take the
    sweep or an agent fails.
    """
    from dcnrun.sweep.wandb_engine.login import require_login

    if problems := wandb_problems(sweep):
        raise ConfigError(problems)
    require_login()
    folder.mkdir(parents=True, exist_ok=True)
    planned = plan_agents(count, agents, gpus, folder)
    path, address = _create(sweep, overrides)
    console.print(f"Sweep: {address}\nMore agents may join from other machines: wandb agent {path}", markup=False)
    _explain(planned, count)
    run_agents(planned, path, _environment(sweep, folder))
    return {"sweep": path, "url": address, "agents": [_report(agent) for agent in planned]}


def _create(sweep: SweepFile, overrides: Sequence[str]) -> tuple[str, str]:
    """Have W&B make the sweep; its path (`entity/project/id`) and its address."""
    import wandb
    from wandb.sdk import wandb_setup

    config = {**sweep.raw, "name": sweep.name, "command": [*sweep.raw["command"], *overrides]}
    settings = wandb_setup.singleton().settings
    project = sweep.raw.get("project") or settings.project or LoggerConfig.wandb_project
    try:
        number = wandb.sweep(config, entity=sweep.raw.get("entity"), project=project)
    except Exception as error:  # no network, no such entity, a config it refuses: the client raises many kinds
        raise RunError(f"Weights & Biases doesn't take the sweep: {error}") from error
    # where the client leaves what the server answered, for agents to find the sweep
    entity, project = os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"]
    address = f"{settings.app_url.rstrip('/')}/{entity}/{project}/sweeps/{number}"
    wandb.teardown()
    return f"{entity}/{project}/{number}", address


def _environment(sweep: SweepFile, folder: Path) -> Mapping[str, str]:
    """What the agents are given: tags for their runs, a place for their files, and `dcnrun` as it is here."""
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


def _report(agent: Agent) -> dict[str, Any]:
    return {"runs": agent.runs, "gpu": agent.gpu, "log": str(agent.log)}
