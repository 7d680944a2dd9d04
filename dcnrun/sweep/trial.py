"""How a trial is run: `dcnrun train`, under torchrun where it trains on several devices."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError
from dcnrun.jobs.ledger import Job
from dcnrun.jobs.train import PROGRAM, train_job

_TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def trial_command(job: Job, path: Path, program: Sequence[str] = PROGRAM) -> list[str]:
    """The command of a trial in this folder: each of its processes gets the same overrides."""
    devices = devices_of(job.overrides)
    if devices == 1:
        return train_job(job, path, program)
    return train_job(job, path, [*_TORCHRUN, *_processes(devices)])


def command_line(overrides: Sequence[str]) -> str:
    """The same training for a person, ready for a shell: `dcnrun train ...`."""
    devices = devices_of(overrides)
    program = ["dcnrun"] if devices == 1 else ["torchrun", *_processes(devices)]
    return shlex.join([*program, "train", *overrides])


def devices_of(overrides: Sequence[str]) -> int:
    """Devices, and so processes, of a run with these overrides."""
    try:
        return compose(overrides).trainer.devices
    except ConfigError:
        return 1  # the run itself says what is wrong


def _processes(devices: int) -> list[str]:
    return ["--standalone", "--nproc-per-node", str(devices), "-m", "dcnrun"]
