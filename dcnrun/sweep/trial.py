"""The command of a trial: `dcnrun train`, under torchrun where it trains on several devices, and the GPUs that it needs."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError
from dcnrun.jobs.ledger import Job
from dcnrun.jobs.supervisor import gpu_groups
from dcnrun.jobs.train import PROGRAM, process_arguments, program_on, train_job


def trial_command(job: Job, path: Path, program: Sequence[str] = PROGRAM) -> list[str]:
    """Return the command of a trial in this folder: each of its processes gets the same overrides."""
    return train_job(job, path, program_on(devices_of(job.overrides), program))


def command_line(overrides: Sequence[str]) -> str:
    """Return the command for a shell that does the same training: `dcnrun train ...`."""
    devices = devices_of(overrides)
    program = ["dcnrun"] if devices == 1 else ["torchrun", *process_arguments(devices)]
    return shlex.join([*program, "train", *overrides])


def devices_of(overrides: Sequence[str]) -> int:
    """Return the number of devices, and so of processes, of a run with these overrides."""
    try:
        return compose(overrides).trainer.devices
    except ConfigError:
        return 1  # the run itself says what is wrong


def gpu_groups_for(overrides: Sequence[str], gpus: Sequence[str]) -> list[str]:
    """Return the GPUs of each agent: as many as a trial with these overrides needs; UsageError if there are not enough for one."""
    return gpu_groups(gpus, devices_of(overrides)) if gpus else []
