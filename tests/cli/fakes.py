"""The command line, run in this process or as one of its own, and how long that takes."""

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

import dcnrun
from dcnrun.cli import app

CODE = Path(dcnrun.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CODE), "COLUMNS": "100"}


def run(*arguments, **environment):
    """Run the command line in this process."""
    return CliRunner().invoke(app, list(arguments), env=environment)


def run_process(*command, **environment):
    return subprocess.run(
        [sys.executable, *command], env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=60
    )


def last_object(standard_output):
    return json.loads(standard_output.splitlines()[-1])


def median_seconds(work, name):
    """The CPU seconds of what `work` runs as a process: on an idle machine the time until it ends."""

    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(5):
        before = used()
        work()
        times.append(used() - before)
    print(f"{name}: {statistics.median(times):.3f} s")
    return statistics.median(times)
