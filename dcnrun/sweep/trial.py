"""The command of a trial: `dcnrun train`, under torchrun where it trains on several devices, and the GPUs that it needs."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError, UsageError
from dcnrun.jobs.ledger import Job
from dcnrun.jobs.train import PROGRAM, train_job

_TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def trial_command(job: Job, path: Path, program: Sequence[str] = PROGRAM) -> list[str]:
    """Return the command of a trial in this folder: each of its processes gets the same overrides."""
    devices = devices_of(job.overrides)
    if devices == 1:
        return train_job(job, path, program)
    return train_job(job, path, [*_TORCHRUN, *_processes(devices)])


def command_line(overrides: Sequence[str]) -> str:
    """Return the command for a shell that does the same training: `dcnrun train ...`."""
    devices = devices_of(overrides)
    program = ["dcnrun"] if devices == 1 else ["torchrun", *_processes(devices)]
    return shlex.join([*program, "train", *overrides])


def devices_of(overrides: Sequence[str]) -> int:
    """Return the number of devices, and so of processes, of a run with these overrides."""
    try:
        return compose(overrides).trainer.devices
    except ConfigError:
        return 1  # the run itself says what is wrong


def gpu_groups_for(overrides: Sequence[str], gpus: Sequence[str]) -> list[str]:
    """Return the GPUs of each agent: as many as a trial with these overrides needs; UsageError if there are not enough for one."""
    if not gpus:
        return []
    devices = devices_of(overrides)
    groups = gpu_groups(gpus, devices)
    if not groups:
        raise UsageError(f"A trial needs trainer.devices={devices} GPUs, but --gpus names {len(gpus)}.")
    return groups


def gpu_groups(gpus: Sequence[str], devices: int) -> list[str]:
    """Return GPUs in groups of as many as a trial needs: ["0,1", "2,3"]; those left over stay idle."""
    return [",".join(gpus[i : i + devices]) for i in range(0, len(gpus) - devices + 1, devices)]


def _processes(devices: int) -> list[str]:
    return ["--standalone", "--nproc-per-node", str(devices), "-m", "dcnrun"]
